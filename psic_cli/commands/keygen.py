"""psic keygen: key files."""

from pathlib import Path
from typing import Annotated

import typer

from psic_cli.commands import options
from psic_cli.errors import UsageError
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.terminal import name_of, terminal


def keygen(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", show_default=False, help="The key file to make.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="The same, as an option.")
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            "--show", metavar="FILE", help="Make nothing: print the fingerprint of a key file, which is no secret."
        ),
    ] = None,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Make a key file that unlocks the full picture.

    Only you can read it, and it is never overwritten. Keep a copy: without the key, only the protected picture can be
    decoded. The fingerprint tells keys apart without revealing them.
    """
    from psic_cli import keys
    from psic_cli.shell import conditions, streams

    named = [name for name in (file, output, show) if name is not None]
    if len(named) > 1:
        raise UsageError("more than one key file is named", "psic keygen FILE, or psic keygen --show FILE")
    if not named or not named[0]:
        hint = f"psic keygen key.bin; your own key is made by the first psic encode, in {name_of(keys.own_key_path())}"
        raise UsageError("no key file is named", hint)
    if named[0] == streams.STANDARD_STREAM and show is None:
        raise UsageError("a key goes into a file that only you can read, not to standard output", "psic keygen key.bin")
    path = Path(named[0])
    with streams.claim_streams() as standard:
        if show is None:
            fingerprint = keys.fingerprint(keys.create_key_file(path))
            terminal.say(f"made {name_of(path)}, fingerprint {fingerprint}")
        else:
            fingerprint = keys.fingerprint(conditions.read_key(show, standard))
            standard.write_text(f"{fingerprint}\n")
    return ExitCode.OK
