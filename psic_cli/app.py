"""The command line as a whole: commands, the options before them, and the one place where errors become exit codes.

Nothing heavy is imported here: `psic --help` must answer at once. Commands import what they need when they run.
"""

import inspect
import re
import warnings
from collections.abc import Callable
from typing import Annotated

import typer
from typer.main import get_command

from psic_cli import __version__
from psic_cli.bitstream.container import VERSION as FORMAT_VERSION
from psic_cli.commands import audit, bench, decode, encode, evaluate, info, keygen, models, options, train
from psic_cli.commands.help import Command, Group
from psic_cli.errors import OutputError, UsageError
from psic_cli.shell import streams
from psic_cli.shell.exit_codes import READER_GONE, ExitCode, exit_code_for
from psic_cli.shell.terminal import terminal

_CODEC, _KEYS, _MODELS, _RESEARCH = "Codec", "Keys", "Models", "Research"

app = typer.Typer(
    name="psic",
    cls=Group,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_EXAMPLES = """[bold]Examples[/bold]

psic encode photo.png                         writes photo.psic; first use makes your key

psic decode photo.psic -o protected.png       what everybody gets

psic decode --full photo.psic -o full.png     with your key

psic encode < photo.png | psic decode > protected.png
"""


def _version(value: bool) -> None:
    if value:
        typer.echo(f"psic {__version__}, reads and writes .psic format {FORMAT_VERSION}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=_EXAMPLES)
def psic(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "-V",
            "--version",
            metavar="",
            callback=_version,
            is_eager=True,
            help="Show the version and the format it reads.",
        ),
    ] = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode | None:
    """Learned image compression whose pictures people can see, machines misread, and a key restores in full."""
    if context.invoked_subcommand is not None:
        return None
    typer.echo(context.get_help())
    return ExitCode.USAGE


def _help(command: Callable[..., object]) -> str:
    """A command's docstring as help: the terminal decides where the lines of a paragraph break."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.__doc__ or ""))


def _add(panel: str, command: Callable[..., ExitCode]) -> None:
    app.command(cls=Command, help=_help(command), rich_help_panel=panel)(command)


_add(_CODEC, encode.encode)
_add(_CODEC, decode.decode)
_add(_CODEC, info.info)
_add(_KEYS, keygen.keygen)
app.add_typer(models.app, name="models", help=_help(models.models), rich_help_panel=_MODELS)
_add(_RESEARCH, audit.audit)
_add(_RESEARCH, evaluate.evaluate)
_add(_RESEARCH, bench.bench)
_add(_RESEARCH, train.train)


def run(arguments: list[str]) -> int:
    """Run one command line (without the program's name) and give its exit code. Raises nothing."""
    terminal.reset()
    streams.reset()
    streams.fill_closed_descriptors()
    try:
        with warnings.catch_warnings():
            if "--debug" not in arguments:
                warnings.simplefilter("ignore")  # what libraries tell each other is not for people
            result = get_command(app)(args=arguments, prog_name="psic", standalone_mode=False)
        code = int(result or ExitCode.OK)
        if code == ExitCode.INTERNAL:  # only completion ends so, having said that it does not know the shell
            code = int(ExitCode.USAGE)
    except streams.ReaderGone:
        code = READER_GONE
    except typer.TyperException as error:
        _explain(error)
        code = int(ExitCode.USAGE)
    except KeyboardInterrupt:
        code = int(ExitCode.INTERRUPTED)
    except SystemExit as error:  # a signal asked us to end, or Typer met a closed pipe
        code = error.code if isinstance(error.code, int) else int(ExitCode.INTERNAL)
        streams.abandon_unfinished()
    except OSError as error:  # files and data streams translate theirs: this one was met while printing help
        where = error.filename or "to standard output"  # or while installing completion
        terminal.error(OutputError(f"cannot write {where}: {streams.reason(error)}"))
        code = int(ExitCode.OUTPUT)
    except BaseException as error:  # PanicException, which Rust libraries raise, is no Exception
        terminal.error(error)
        code = int(exit_code_for(error))
    if code == ExitCode.INTERRUPTED:
        streams.abandon_unfinished()
        terminal.announce("interrupted")
    return code


def _explain(error: typer.TyperException) -> None:
    """What the parser has to say, in our words: one line, and where to read on."""
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    hint = f"see {context.command_path if context is not None else 'psic'} --help"
    for start in (" Did you mean", " (Possible options:"):
        if start in message:
            message, suggestion = message.split(start, 1)
            hint = f"did you mean{suggestion.rstrip('?)')}? {hint}"
    terminal.error(UsageError((message[:1].lower() + message[1:]).rstrip("."), hint))
