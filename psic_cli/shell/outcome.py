"""What becomes of one picture, and of all: the lines for people, the rows of reports, the summary. Knows no codec.

The same words and rows for one machine (`batch.py`) and for many (`ray/`). An outcome travels between processes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from psic_cli.errors import InputError, PsicError
from psic_cli.shell.exit_codes import ExitCode, exit_code_for
from psic_cli.shell.report import Record
from psic_cli.shell.terminal import seconds_text, size_text, terminal, with_name


class Named(Protocol):
    """An input and its output, as reports (None: a standard stream) and messages call them."""

    @property
    def source(self) -> object: ...
    @property
    def destination(self) -> object: ...
    @property
    def source_name(self) -> str: ...
    @property
    def destination_name(self) -> str: ...


@dataclass
class Outcome:
    """What became of one task. The work fills in `data` (the output's bytes) and what is known of the picture.

    bytes_in: size of the input. coded_bytes: size of the .psic side, for the rate. words: what the result line adds to
    the sizes. facts: further fields of the report. made_public: kinds of metadata in an open file, None for others.
    """

    task: Named
    data: bytes = b""
    bytes_in: int = 0
    bytes_out: int = 0
    coded_bytes: int = 0
    width: int = 0
    height: int = 0
    words: str = ""
    facts: Record = field(default_factory=dict)
    made_public: list[str] | None = None
    warnings: list[str] = field(default_factory=list)
    laps: list[tuple[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    skipped: bool = False
    settled: bool = False  # what became of it is known for good
    error: BaseException | None = None

    def lap(self, name: str) -> None:
        """Note that a step ends now, for the timings that -v shows."""
        self.laps.append((name, time.monotonic()))

    def warn(self, text: str) -> None:
        """Note something that worked but may surprise: it is said when the task's turn comes."""
        self.warnings.append(text)

    def publish(self) -> None:
        """The output is there."""
        self.lap("write")
        self.bytes_out, self.seconds = len(self.data), self.laps[-1][1] - self.laps[0][1]
        self.settled = True

    @property
    def rate_bpp(self) -> float:
        """Bits of the .psic file per pixel of the picture."""
        return 8 * self.coded_bytes / (self.width * self.height)


@contextmanager
def attempting(outcome: Outcome) -> Iterator[None]:
    """One attempt at a task: the outcome keeps an error that is raised, except for what must end the process, and lets
    go of the output's bytes.
    """
    outcome.lap("start")
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # PanicException of a Rust library is no Exception
        outcome.error = _out_of_memory(error, outcome.task)
        outcome.settled = True
    outcome.data = b""  # a thousand outcomes must not keep a thousand pictures


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the file's name into errors of parts that work on bytes alone."""
    try:
        yield
    except PsicError as error:
        raise with_name(name, error) from error


def _out_of_memory(error: BaseException, task: Named) -> BaseException:
    # torch has its own exception for a full GPU and a plain RuntimeError for a full machine
    full = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    if not full and not (isinstance(error, RuntimeError) and "t allocate memory" in str(error)):
        return error
    message = f"{task.source_name}: there is not enough memory for this picture"
    translated = InputError(message, "make it smaller, or use a machine with more memory")
    translated.__cause__ = error
    return translated


def say(outcome: Outcome, is_batch: bool) -> None:
    """The lines for people. A single task's error is left to whoever raises it."""
    task = outcome.task
    for text in outcome.warnings:
        terminal.warn(f"{task.source_name}: {text}")
    if outcome.error is not None:
        if is_batch:
            terminal.error(outcome.error)
    elif outcome.skipped:
        text = f"{task.destination_name} exists: skipped"
        terminal.detail(text) if is_batch else terminal.say(text)
    else:
        sizes = f"{size_text(outcome.bytes_in)} -> {size_text(outcome.bytes_out)}"
        parts = (f"{task.source_name} -> {task.destination_name}", sizes, outcome.words, seconds_text(outcome.seconds))
        line = "  ".join(part for part in parts if part)
        terminal.say(line) if task.destination is not None else terminal.detail(line)
        steps = zip(outcome.laps[1:], outcome.laps, strict=False)
        terminal.detail("  " + "  ".join(f"{name} {end - begin:.2f} s" for (name, end), (_, begin) in steps))


def record(outcome: Outcome) -> Record:
    """The row of the report."""
    task, error = outcome.task, outcome.error
    row: Record = {
        "input": "-" if task.source is None else str(task.source),
        "output": "-" if task.destination is None else str(task.destination),
        "status": "failed" if error is not None else "skipped" if outcome.skipped else "done",
    }
    if error is not None:
        row |= {"error": " ".join(str(error).split()), "exit_code": int(exit_code_for(error))}
    elif not outcome.skipped:
        row |= {"bytes_in": outcome.bytes_in, "bytes_out": outcome.bytes_out}
        row |= {"width": outcome.width, "height": outcome.height, "bpp": round(outcome.rate_bpp, 6)}
        row |= outcome.facts | {"seconds": round(outcome.seconds, 3)}
    return row | ({"warnings": outcome.warnings} if outcome.warnings else {})


@dataclass
class Totals:
    """Sums over the outcomes of a batch, of which none need be kept."""

    all: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    coded_bytes: int = 0
    pixels: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.all += 1
        if outcome.error is not None:
            self.failed += 1
        elif outcome.skipped:
            self.skipped += 1
        else:
            self.done += 1
            self.bytes_in += outcome.bytes_in
            self.bytes_out += outcome.bytes_out
            self.coded_bytes += outcome.coded_bytes
            self.pixels += outcome.width * outcome.height

    def summarise(self, seconds: float) -> ExitCode:
        """The last line for people, and the exit code of the batch."""
        parts = [_pictures(self.done)]
        if self.done:
            parts += [f"{size_text(self.bytes_in)} -> {size_text(self.bytes_out)}"]
            parts += [f"{8 * self.coded_bytes / self.pixels:.2f} bpp"]
        if self.skipped:
            parts.append(f"{self.skipped} skipped")
        terminal.say(f"psic: {'  '.join([*parts, seconds_text(seconds)])}")
        if self.failed:
            terminal.announce(f"{self.failed} of {_pictures(self.all)} failed")
            return ExitCode.PARTIAL
        return ExitCode.OK


def _pictures(count: int) -> str:
    return f"{count} {'picture' if count == 1 else 'pictures'}"
