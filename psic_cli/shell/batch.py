"""Work through a list of tasks: in parallel, in order, with a progress bar, a report and one summary. Knows no codec.

A single task that fails just fails. In a batch each failure is reported, the rest goes on, and the exit code says
"partial". What is said and reported has the order of the list for any number of jobs.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from psic_cli.errors import InputError, PsicError, UsageError
from psic_cli.shell.exit_codes import ExitCode, exit_code_for
from psic_cli.shell.report import Record, open_report
from psic_cli.shell.streams import Streams, abandon_unfinished, check_destination, make_folder, write_file
from psic_cli.shell.terminal import seconds_text, size_text, terminal, with_name
from psic_cli.shell.worklist import Task, Worklist


@dataclass
class Outcome:
    """What became of one task. The work fills in `data` (the output's bytes) and what is known of the picture.

    bytes_in: size of the input. coded_bytes: size of the .psic side, for the rate. words: what the result line adds to
    the sizes.
    facts: further fields of the report.
    """

    task: Task
    data: bytes = b""
    bytes_in: int = 0
    bytes_out: int = 0
    coded_bytes: int = 0
    width: int = 0
    height: int = 0
    words: str = ""
    facts: Record = field(default_factory=dict)
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


# Reads the input of a task and puts the output's bytes into the outcome; raises to fail. Runs in any thread.
Work = Callable[[Outcome], None]


@dataclass(frozen=True)
class Rules:
    """What the user asked about outputs and batches. jobs: pictures in work at the same time."""

    force: bool = False
    skip_existing: bool = False
    jobs: int = 2
    report: str | None = None

    def __post_init__(self) -> None:
        if self.force and self.skip_existing:
            raise UsageError("--force and --skip-existing contradict each other", "use one of them")


def run(worklist: Worklist, work: Work, rules: Rules, streams: Streams, *, doing: str) -> ExitCode:
    """Do all tasks; `doing` labels the progress bar ("encoding"). A single task raises its error; a batch returns
    PARTIAL.
    """
    started = time.monotonic()
    outcomes = [Outcome(task) for task in worklist.tasks]
    reporting = open_report(rules.report, worklist, streams, overwrite=rules.force, append=rules.skip_existing)
    with reporting as report, terminal.progress(doing, len(worklist.tasks) if worklist.is_batch else 0) as advance:
        reported = 0
        try:
            for outcome in _in_order(outcomes, work, rules, streams):
                report(_record(outcome))
                reported += 1
                _say(outcome, worklist.is_batch)
                advance()
        except (KeyboardInterrupt, SystemExit):
            abandon_unfinished()  # from here on no picture gets finished
            for outcome in outcomes[reported:]:
                if outcome.settled:
                    report(_record(outcome))
            raise
    if worklist.is_batch:
        return _summarise(outcomes, time.monotonic() - started)
    if outcomes[0].error is not None:
        raise outcomes[0].error
    return ExitCode.OK


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the file's name into errors of parts that work on bytes alone."""
    try:
        yield
    except PsicError as error:
        raise with_name(name, error) from error


def _in_order(outcomes: list[Outcome], work: Work, rules: Rules, streams: Streams) -> Iterator[Outcome]:
    """The outcomes in their order, whichever of the threads is done first.

    Even one job has a thread: signals interrupt the main thread, which must not be between a file and its record then.
    """
    places = [(outcome, threading.Event()) for outcome in outcomes]
    waiting: queue.SimpleQueue[tuple[Outcome, threading.Event]] = queue.SimpleQueue()
    for place in places:
        waiting.put(place)

    def labour() -> None:
        try:
            while True:
                outcome, done = waiting.get_nowait()
                _attempt(outcome, work, rules, streams)
                done.set()
        except (queue.Empty, KeyboardInterrupt):
            return  # nothing left to do, or told to stop before publishing a file

    # Daemons: after Ctrl-C nobody waits for a picture that takes minutes.
    threads = [threading.Thread(target=labour, daemon=True) for _ in range(min(rules.jobs, len(outcomes)))]
    for thread in threads:
        thread.start()
    for outcome, done in places:
        while not done.wait(1.0):  # a wait without end cannot be interrupted on every system
            if not any(thread.is_alive() for thread in threads) and not done.is_set():
                raise KeyboardInterrupt  # they were told to stop
        yield outcome
    for thread in threads:
        thread.join()


def _attempt(outcome: Outcome, work: Work, rules: Rules, streams: Streams) -> None:
    """Do one task from checks to output; its error is kept, except for what must end the process."""
    task = outcome.task
    started = time.monotonic()
    outcome.lap("start")

    def published() -> None:
        outcome.bytes_out, outcome.seconds = len(outcome.data), time.monotonic() - started
        outcome.lap("write")
        outcome.settled = True

    try:
        if task.problem is not None:
            raise task.problem
        if task.destination is not None and rules.skip_existing and task.destination.exists():
            outcome.skipped = outcome.settled = True
            return
        if task.destination is not None and not (task.makes_folder and not task.destination.parent.exists()):
            check_destination(task.destination, overwrite=rules.force)  # before minutes of work
        work(outcome)
        if task.destination is None:
            streams.write(outcome.data)
            published()
        else:
            if task.makes_folder:
                make_folder(task.destination.parent)
            write_file(task.destination, outcome.data, overwrite=rules.force, like=task.source, published=published)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # PanicException of a Rust library is no Exception
        outcome.error = _out_of_memory(error, task)
        outcome.settled = True
    outcome.data = b""  # a thousand outcomes must not keep a thousand pictures


def _out_of_memory(error: BaseException, task: Task) -> BaseException:
    # torch has its own exception for a full GPU and a plain RuntimeError for a full machine
    full = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    if not full and not (isinstance(error, RuntimeError) and "t allocate memory" in str(error)):
        return error
    message = f"{task.source_name}: there is not enough memory for this picture"
    translated = InputError(message, "make it smaller, or use a machine with more memory")
    translated.__cause__ = error
    return translated


def _say(outcome: Outcome, is_batch: bool) -> None:
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


def _record(outcome: Outcome) -> Record:
    task, error = outcome.task, outcome.error
    record: Record = {
        "input": "-" if task.source is None else str(task.source),
        "output": "-" if task.destination is None else str(task.destination),
        "status": "failed" if error is not None else "skipped" if outcome.skipped else "done",
    }
    if error is not None:
        record |= {"error": " ".join(str(error).split()), "exit_code": int(exit_code_for(error))}
    elif not outcome.skipped:
        record |= {"bytes_in": outcome.bytes_in, "bytes_out": outcome.bytes_out}
        record |= {"width": outcome.width, "height": outcome.height, "bpp": round(rate_bpp(outcome), 6)}
        record |= outcome.facts | {"seconds": round(outcome.seconds, 3)}
    return record | ({"warnings": outcome.warnings} if outcome.warnings else {})


def rate_bpp(outcome: Outcome) -> float:
    """Bits of the .psic file per pixel of the picture."""
    return 8 * outcome.coded_bytes / (outcome.width * outcome.height)


def _summarise(outcomes: list[Outcome], seconds: float) -> ExitCode:
    done = [outcome for outcome in outcomes if outcome.error is None and not outcome.skipped]
    failed = sum(outcome.error is not None for outcome in outcomes)
    skipped = sum(outcome.skipped for outcome in outcomes)
    parts = [f"{len(done)} {'picture' if len(done) == 1 else 'pictures'}"]
    if done:
        pixels = sum(outcome.width * outcome.height for outcome in done)
        bytes_in, bytes_out = (sum(getattr(outcome, name) for outcome in done) for name in ("bytes_in", "bytes_out"))
        parts += [f"{size_text(bytes_in)} -> {size_text(bytes_out)}"]
        parts += [f"{8 * sum(outcome.coded_bytes for outcome in done) / pixels:.2f} bpp"]
    if skipped:
        parts.append(f"{skipped} skipped")
    terminal.say(f"psic: {'  '.join([*parts, seconds_text(seconds)])}")
    if failed:
        terminal.announce(f"{failed} of {len(outcomes)} {'picture' if len(outcomes) == 1 else 'pictures'} failed")
        return ExitCode.PARTIAL
    return ExitCode.OK
