"""All words for people: they go to standard error, one line each. Standard output belongs to `streams.py` and carries
data alone.

The rules: errors are `psic: error: ...` with `psic: hint: ...` lines after them, in lower case and without a full stop;
`--quiet` leaves errors (and the news that a key was made), `-v` adds details, `--debug` adds tracebacks; a progress bar
is drawn only where standard error is a terminal. Every line may come from any thread.
"""

import contextlib
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from psic_cli.errors import PsicError

_TABLE_WIDTH = 120  # characters, where standard error is no terminal
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Terminal:
    """How much to say, and the one place where it is said."""

    def __init__(self) -> None:
        self.quiet = False
        self.verbosity = 0
        self.debug = False
        self._lock = threading.Lock()
        self._write: Callable[[str], None] | None = None  # set while a progress bar owns the screen

    def reset(self) -> None:
        """Back to the defaults of a new process."""
        self.quiet, self.verbosity, self.debug = False, 0, False

    def say(self, text: str) -> None:
        """A result, such as what was written."""
        if not self.quiet:
            self._line(text)

    def detail(self, text: str) -> None:
        """Something that only `-v` shows."""
        if self.verbosity and not self.quiet:
            self._line(text)

    def warn(self, text: str, hint: str | None = None) -> None:
        """Something that worked but may surprise."""
        if not self.quiet:
            self._lines(f"psic: warning: {text}", hint)

    def announce(self, text: str, hint: str | None = None) -> None:
        """News that nobody may miss, not even with `--quiet`: a key was made, and losing it loses pictures."""
        self._lines(f"psic: {text}", hint)

    def error(self, error: BaseException) -> None:
        """One line and its hint for an error; the traceback before them with `--debug`."""
        if self.debug:
            self._line("".join(traceback.format_exception(error)).rstrip("\n"))
        if isinstance(error, PsicError):
            self._lines(f"psic: error: {_one_line(str(error))}", error.hint)
        else:
            text = _one_line(f"{type(error).__name__}: {error}".rstrip(": "))
            evidence = "the lines above" if self.debug else "what --debug shows"
            self._lines(
                f"psic: error: internal error: {text}", f"this is a bug in psic: please report it with {evidence}"
            )

    @contextlib.contextmanager
    def progress(self, description: str, total: int) -> Iterator[Callable[..., None]]:
        """A bar over `total` pictures, advanced by calling what this yields; lines said meanwhile appear above it. 0:
        no bar.

        The call takes `worked`, True unless said otherwise: False for a picture that cost next to nothing, so that the
        time left is not judged by it.
        """
        if total == 0 or self.quiet or not standard_error_is_terminal():
            yield lambda worked=True: None
            return
        # rich takes longer to import than a small picture to encode, and logs need no bar
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console, time_left = Console(stderr=True), TimeLeft(total)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[time_left]}"),
        )
        with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
            task = bar.add_task(description, total=total, time_left=time_left)
            self._write = lambda text: bar.console.print(
                text, markup=False, highlight=False, soft_wrap=True, emoji=False
            )

            def advance(worked: bool = True) -> None:
                time_left.advance(worked)
                bar.advance(task)

            try:
                yield advance
            finally:
                self._write = None

    @contextlib.contextmanager
    def counting(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """A bar for one long piece of work, which says how many steps of how many are done by calling what this yields:
        the bar appears with the first.
        """
        with contextlib.ExitStack() as stack:
            advance: Callable[..., None] | None = None

            def count(done: int, steps: int) -> None:
                nonlocal advance
                if advance is None:
                    advance = stack.enter_context(self.progress(description, steps))
                advance()

            yield count

    def _lines(self, text: str, hint: str | None) -> None:
        self._line(text if hint is None else f"{text}\npsic: hint: {_one_line(hint)}")

    def _line(self, text: str) -> None:
        with self._lock:
            (self._write or _write_to_standard_error)(text)


class TimeLeft:
    """How long the rest of `total` pictures takes, if each takes the mean of those that were really worked on.

    clock: seconds. Its text is counted down between two pictures, and is not known before the first.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._left = clock, total
        self._seconds, self._worked = 0.0, 0
        self._last = clock()

    def advance(self, worked: bool = True) -> None:
        """One picture is done. worked: False for one that was there already."""
        now = self._clock()
        self._left -= 1
        if worked:
            self._seconds, self._worked = self._seconds + now - self._last, self._worked + 1
        self._last = now

    def __str__(self) -> str:
        if not self._worked or self._left <= 0:
            return ""
        spent = self._clock() - self._last  # on the picture at hand, which counts once it is slower than the others
        each = max(self._seconds / self._worked, (self._seconds + spent) / (self._worked + 1))
        seconds = max(0.0, each - spent) + each * (self._left - 1)
        return f"{seconds_text(seconds)} left" if seconds else "longer than expected"


terminal = Terminal()


def table_width() -> int:
    """Characters that a table on standard error may have in a line."""
    return shutil.get_terminal_size().columns if standard_error_is_terminal() else _TABLE_WIDTH


def standard_error_is_terminal() -> bool:
    """Whether people are watching."""
    try:
        return os.isatty(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False


def name_of(path: str | Path) -> str:
    """A file name for a message: quoted if it holds spaces, control characters spelled out so that they cannot fake a
    line.
    """
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(path))
    return f'"{text}"' if " " in text or not text else text


def with_name(name: str, error: PsicError) -> PsicError:
    """The same error, saying which file it is about: the parts that work on bytes know no names."""
    message = str(error)
    for subject in ("this is ", "the file is ", "the file has ", "the file needs "):
        if message.startswith(subject):
            return type(error)(f"{name} {subject.split()[-1]} {message.removeprefix(subject)}", error.hint)
    return type(error)(f"{name}: {message}", error.hint)


def size_text(size_bytes: int) -> str:
    """A size in decimal units with two or three digits that matter: 87 B, 9.6 kB, 123 MB."""
    value, unit = float(size_bytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 1 if unit and value < 9.95 else 0
    return f"{value:.{digits}f} {_UNITS[unit]}"


def seconds_text(seconds: float) -> str:
    """A duration for people: 0.8 s, 12 s, 3 min 20 s."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _write_to_standard_error(text: str) -> None:
    stream = sys.stderr
    if stream is None:  # closed by whoever started us: nobody wants to hear anything
        return
    with contextlib.suppress(OSError, ValueError):  # a word that cannot be said must not turn success into failure
        print(text, file=stream, flush=True)
