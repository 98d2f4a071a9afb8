"""Bytes in and out: standard input, standard output and files. Words for people never pass here, and pictures are only
bytes.

Start with `claim_streams` (what a command wraps its work in), `read_file` and `write_file`. The promises:
standard output carries data and nothing else; a file appears whole or not at all; nothing is replaced unless asked for,
not even in a race; a key is never replaced at all; what is left unfinished is removed.
"""

import contextlib
import os
import secrets
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from psic_cli import keys
from psic_cli.errors import InputError, OutputError, PsicError
from psic_cli.shell import access, durable
from psic_cli.shell.terminal import name_of

# Larger inputs are mistakes (a device, a film): 200 million pixels of 16-bit RGBA are 1.6 GB.
MAX_INPUT_BYTES = 4 * 10**9
_CHUNK_BYTES = 1 << 20

STANDARD_STREAM = "-"


class ReaderGone(Exception):
    """Whoever read our standard output has closed it: a reason to stop, not an error to talk about."""


class Streams:
    """The standard streams as the process got them: data goes through here while `sys.stdout` is standard error."""

    def __init__(self, data_out: int) -> None:
        self._data_out = data_out
        self._checked = False
        self.input_is_terminal = _is_terminal(0)
        self.output_is_terminal = _is_terminal(data_out)

    def read(self) -> bytes:
        """All of standard input. `InputError` if it cannot be read or is absurdly large."""
        return _read_all(0, "standard input")

    def write(self, data: bytes) -> None:
        """All of the data to standard output. `ReaderGone` if nobody reads, `OutputError` for a full disk, a key."""
        self._refuse_key()
        rest = memoryview(data)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._data_out, rest[:_CHUNK_BYTES]) :]
                except BlockingIOError:  # a pipe that somebody else made non-blocking, as ssh does
                    select.select([], [self._data_out], [])
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {reason(error)}") from error

    def write_text(self, text: str) -> None:
        """Text that was asked for (a listing, JSON) to standard output, in its encoding."""
        encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
        self.write(text.encode(encoding, "backslashreplace"))

    def _refuse_key(self) -> None:
        """A shell empties what follows `>`, and it is past help; `>>` and `1<>` lead into the file as it is."""
        if not self._checked:
            self._checked = True
            with contextlib.suppress(OSError):  # not every system lets us look
                if keys.is_key_file(Path(f"/dev/fd/{self._data_out}")):
                    raise _is_a_key("standard output")


@contextlib.contextmanager
def claim_streams() -> Iterator[Streams]:
    """Keep a private duplicate of standard output for data, and send everything else that is printed to standard error.

    Libraries do print to standard output, from Python and from C; a stray line must not end up inside a file.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    printed_before = sys.stdout
    data_out = os.dup(1)
    try:
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        yield Streams(data_out)
    finally:
        sys.stdout = printed_before
        os.dup2(data_out, 1)
        os.close(data_out)


def fill_closed_descriptors() -> None:
    """Make sure that descriptors 0 to 2 exist, so that no file of ours gets their numbers: writing to a closed output
    still fails.
    """
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)


def read_file(path: Path) -> bytes:
    """All bytes of a file (a pipe too). `InputError` says which file and why not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {name_of(path)}: {reason(error)}") from error
    try:
        return _read_all(descriptor, name_of(path))
    finally:
        os.close(descriptor)


def check_destination(path: Path, *, overwrite: bool) -> None:
    """Refuse early what `write_file` refuses late: `OutputError` for a key, an existing file, a folder, a missing
    folder.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.islink(path) and not overwrite:
            raise _exists(path) from None
        if not path.parent.is_dir():
            message = f"cannot write {name_of(path)}: there is no folder {name_of(path.parent)}"
            raise OutputError(message, "make the folder first, or name another output with -o") from None
        return
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {name_of(path)}: {reason(error)}") from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"{name_of(path)} is a folder", "name a file with -o")
    refuse_key(path)
    if stat.S_ISREG(mode) and not overwrite:
        raise _exists(path)


def refuse_key(path: Path) -> None:
    """`OutputError` if the file of this name, also behind a link, is a key: whatever opens a file for writing asks
    first.
    """
    try:
        if keys.is_key_file(path):
            raise _is_a_key(name_of(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"cannot tell whether {name_of(path)} is a key: {reason(error)}") from error


def make_folder(path: Path) -> None:
    """The folder and those above it. `OutputError` if something else has its name."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {name_of(path)}: {reason(error)}") from error


def write_file(
    path: Path,
    data: bytes,
    *,
    overwrite: bool,
    like: Path | None = None,
    published: Callable[[], None] = lambda: None,
    token: str | None = None,
) -> None:
    """Write a file whole or not at all; devices and pipes are written through. `OutputError` says which file and why
    not.

    Without `overwrite` an existing file is kept even if it appears at the last moment. With it a symbolic link stays a
    link and a replaced file keeps its permissions. like: the file that this one is made from: it gives the modification
    time, and who could not read it cannot read this one. published: called once the file is there, and never for one
    that `abandon_unfinished` was in time for. token: names the file while it is unfinished, for `remove_unfinished`;
    None: by chance.
    """
    check_destination(path, overwrite=overwrite)
    try:
        if path.exists() and not path.is_file():
            _write_through(path, data)
            published()
        else:
            place, temporary = _places(path, token or secrets.token_hex(8), overwrite)
            _write_whole(place, temporary, data, overwrite, access.of_file(like), published)
    except FileExistsError:
        raise _exists(path) from None
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise OutputError(f"cannot write {name_of(path)}: {reason(error)}") from error


def remove_unfinished(path: Path, token: str, *, overwrite: bool) -> None:
    """Remove what a process that was killed in `write_file` has left, if anything: the arguments are those it had."""
    with contextlib.suppress(OSError):
        os.unlink(_places(path, token, overwrite)[1])


def reason(error: BaseException) -> str:
    """Why the system refused, in lower case: "permission denied"."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]


# Unfinished files: known by name from before they exist until they have their final name.

_unfinished: set[str] = set()
_publishing = threading.Lock()
_stopped = False


def reset() -> None:
    """Files may be published again: a process that was told to stop one command line may run another."""
    global _stopped
    _stopped = False


def abandon_unfinished() -> None:
    """Remove what is half written and let no other thread publish anything from now on (after Ctrl-C)."""
    global _stopped
    with _publishing:
        _stopped = True
        for name in _unfinished:
            with contextlib.suppress(OSError):
                os.unlink(name)
        _unfinished.clear()


def _places(path: Path, token: str, overwrite: bool) -> tuple[Path, str]:
    """Where the file comes to lie, and where until it is finished."""
    place = Path(os.path.realpath(path)) if overwrite else path
    return place, str(place.parent / unfinished_name(token))


def unfinished_name(token: str) -> str:
    """What a file is called until it is finished."""
    return f".psic-{token}.tmp"


def _write_whole(
    path: Path,
    temporary: str,
    data: bytes,
    overwrite: bool,
    source: os.stat_result | None,
    published: Callable[[], None],
) -> None:
    with _publishing:
        if _stopped:
            raise KeyboardInterrupt
        _unfinished.add(temporary)
    try:
        # The kernel applies the umask: mkstemp would leave every output readable by its owner alone.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(temporary, flags, access.new_mode(source)), "wb") as file:
            access.restrict(file.fileno(), source, access.of_file(path) if overwrite else None)
            file.write(data)
            file.flush()
            durable.sync(file.fileno())
        access.keep_time(temporary, source)
        with _publishing:
            if _stopped:
                raise KeyboardInterrupt
            if overwrite:
                refuse_key(path)  # it may have been made while we worked
                os.replace(temporary, path)
            else:
                durable.rename_to_free_name(temporary, path)
            published()
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        with _publishing:
            _unfinished.discard(temporary)
    durable.sync_folder(path.parent)


def _write_through(path: Path, data: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]


def _read_all(descriptor: int, name: str) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while True:
        try:
            chunk = os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            select.select([descriptor], [], [])
            continue
        except OSError as error:
            raise InputError(f"cannot read {name}: {reason(error)}") from error
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        total += len(chunk)
        if total > MAX_INPUT_BYTES:
            raise InputError(f"{name} is larger than {MAX_INPUT_BYTES // 10**9} GB: no picture is")


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _exists(path: Path) -> PsicError:
    return OutputError(f"{name_of(path)} exists", "use --force to replace it, or -o to name another file")


def _is_a_key(name: str) -> PsicError:
    return OutputError(f"{name} is a key file, and a key file is never overwritten", "name another output")
