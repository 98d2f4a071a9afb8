"""Work through a list of tasks: in parallel, in order, with a progress bar, a report and one summary. Knows no codec.

A single task that fails just fails. In a batch each failure is reported, the rest goes on, and the exit code says
"partial". What is said and reported has the order of the list for any number of jobs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from psic_cli.errors import UsageError
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.outcome import Outcome, Totals, attempting, record, say
from psic_cli.shell.parallel import in_order
from psic_cli.shell.report import open_report
from psic_cli.shell.streams import Streams, abandon_unfinished, check_destination, make_folder, read_file, write_file
from psic_cli.shell.terminal import terminal
from psic_cli.shell.worklist import Task, Worklist

# Takes the bytes of an input and puts the output's bytes into the outcome; raises to fail. Runs in any thread.
Work = Callable[[bytes, Outcome], None]


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
    totals = Totals()
    outcomes = [Outcome(task) for task in worklist.tasks]

    def attempt(number: int) -> Outcome:
        _attempt(worklist.tasks[number], outcomes[number], work, rules, streams)
        return outcomes[number]

    reporting = open_report(rules.report, worklist, streams, overwrite=rules.force, append=rules.skip_existing)
    with reporting as report, terminal.progress(doing, len(worklist.tasks) if worklist.is_batch else 0) as advance:
        reported = 0
        try:
            for outcome in in_order(attempt, len(outcomes), rules.jobs):
                report(record(outcome))
                reported += 1
                totals.add(outcome)
                say(outcome, worklist.is_batch)
                advance()
        except (KeyboardInterrupt, SystemExit):
            abandon_unfinished()  # from here on no picture gets finished
            for outcome in outcomes[reported:]:
                if outcome.settled:
                    report(record(outcome))
            raise
    if worklist.is_batch:
        return totals.summarise(time.monotonic() - started)
    if outcomes[0].error is not None:
        raise outcomes[0].error
    return ExitCode.OK


def _attempt(task: Task, outcome: Outcome, work: Work, rules: Rules, streams: Streams) -> None:
    """Do one task from checks to output; its error is kept, except for what must end the process."""
    with attempting(outcome):
        if task.problem is not None:
            raise task.problem
        if task.destination is not None and rules.skip_existing and task.destination.exists():
            outcome.skipped = outcome.settled = True
            return
        if task.destination is not None and not (task.makes_folder and not task.destination.parent.exists()):
            check_destination(task.destination, overwrite=rules.force)  # before minutes of work
        source = streams.read() if task.source is None else read_file(task.source)
        outcome.bytes_in = len(source)
        work(source, outcome)
        if task.destination is None:
            streams.write(outcome.data)
            outcome.publish()
        else:
            if task.makes_folder:
                make_folder(task.destination.parent)
            write_file(
                task.destination, outcome.data, overwrite=rules.force, like=task.source, published=outcome.publish
            )
