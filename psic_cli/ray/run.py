"""The commands on a cluster: list, actors that hold the model, one report. Start with `run`.

Ray Data keeps the actors busy and starts anew what died with one; `worker.py` keeps psic's rules about files.
"""

from __future__ import annotations

import contextlib
import pickle
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from psic_cli import __version__
from psic_cli.errors import UsageError
from psic_cli.jobs import Job, Secret
from psic_cli.ray import ledger as ledgers
from psic_cli.ray.cluster import connected
from psic_cli.ray.listing import Item, items
from psic_cli.ray.places import Place
from psic_cli.ray.worker import Worker, remove_unfinished
from psic_cli.shell.batch import Rules
from psic_cli.shell.exit_codes import ExitCode
from psic_cli.shell.outcome import Outcome, Totals, record, say
from psic_cli.shell.report import open_report
from psic_cli.shell.streams import STANDARD_STREAM, Streams
from psic_cli.shell.terminal import terminal
from psic_cli.shell.worklist import Kind, Worklist

# Pictures that are handed to a worker together: few while there are few, so that no worker is left with many at the
# end; more in a long list, which costs Ray less.
_MOST_TOGETHER, _MORE_AFTER = 16, 64
_LAST_WORDS_S = 5.0  # that files which are just appearing have, after Ctrl-C


def run(
    address: str,
    sources: list[str],
    target: str | None,
    kind: Kind,
    job: Job,
    rules: Rules,
    standard: Streams,
    *,
    secret: Secret,
    threads: int | None,
    doing: str,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> ExitCode:
    """Do all pictures of the sources, folders with all that is below them, into the folder `target`.

    threads: that each worker computes with, a core each; None: one. tell: hears of every outcome.
    """
    if not sources or STANDARD_STREAM in sources:
        raise UsageError(f"nothing to {kind.verb}", f"--ray takes files, folders and URIs: psic {kind.verb} --help")
    if target is None or target == STANDARD_STREAM:
        raise UsageError("--ray needs a folder to write to", "name one with -o")
    started = time.monotonic()
    report = None if rules.report in (None, STANDARD_STREAM) else Path(rules.report)
    with connected(address):
        found = items([Place.named(source) for source in sources], Place.named(target), kind, report)
        blocks = list(_blocks(found))
        count = sum(map(len, blocks))
        reporting = open_report(
            rules.report, Worklist((), True), standard, overwrite=rules.force, append=rules.skip_existing
        )
        with reporting as write, terminal.progress(doing, count) as advance:
            totals = Totals()
            ledger = ledgers.start(None if secret is None else secret())
            arguments = {
                "ledger": ledger,
                "run": secrets.token_hex(8),
                "job": job,
                "threads": threads or 1,
                "force": rules.force,
                "skip_existing": rules.skip_existing,
                "version": __version__,
            }
            reported = bytearray(count)

            def take(index: int, outcome: Outcome) -> None:
                if reported[index]:  # Ray did it again
                    return
                with _uninterrupted():  # what is in the report, and what is known to be there
                    write(record(outcome))
                    reported[index] = 1
                totals.add(outcome)
                say(outcome, is_batch=True)
                tell(outcome)
                advance()

            try:
                _work(blocks, arguments, take)
            except (KeyboardInterrupt, SystemExit):
                with contextlib.suppress(Exception):
                    for index, outcome in _last(arguments):
                        if not reported[index]:
                            write(record(outcome))
                raise
    return totals.summarise(time.monotonic() - started)


def _blocks(found: Iterator[Item]) -> Iterator[pa.Table]:
    rows: list[bytes] = []
    count = 0
    for item in found:
        rows.append(pickle.dumps(item))
        if len(rows) >= min(_MOST_TOGETHER, 1 + count // _MORE_AFTER):
            yield pa.table({"item": pa.array(rows, pa.binary())})
            count, rows = count + 1, []
    if rows:
        yield pa.table({"item": pa.array(rows, pa.binary())})


def _work(blocks: list[pa.Table], arguments: dict[str, Any], take: Callable[[int, Outcome], None]) -> None:
    """Hand on the outcomes as they are finished."""
    for batch in _batches(blocks, arguments) if not _is_client() else _batches_for_client(blocks, arguments):
        for index, packed in batch:
            take(index, pickle.loads(packed))
        arguments["ledger"].forget.remote([index for index, _ in batch])


Batch = list[tuple[int, bytes]]  # indexes of items, and their outcomes, pickled


def _batches(blocks: list[pa.Table], arguments: dict[str, Any]) -> Iterator[Batch]:
    """Ray Data at work: what workers give back."""
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_blocks(blocks).map_batches(
        Worker,
        batch_size=None,
        fn_constructor_kwargs=arguments,
        **pool(len(blocks), arguments["job"], arguments["threads"]),
    )
    blocks.clear()  # Ray has them
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
        yield list(zip(map(int, batch["index"]), map(bytes, batch["outcome"]), strict=True))


def _is_client() -> bool:
    from ray.util.client import ray as client

    return bool(client.is_connected())


def _batches_for_client(blocks: list[pa.Table], arguments: dict[str, Any]) -> Iterator[Batch]:
    """The same for a client of a cluster, ray://: Ray Data works in processes of the cluster alone, so an actor calls
    it.
    """
    import ray

    conductor = ray.remote(Conductor).options(num_cpus=0).remote(blocks, arguments)
    blocks.clear()
    while (batch := ray.get(conductor.next.remote())) is not None:
        yield batch


class Conductor:
    """The actor."""

    def __init__(self, blocks: list[pa.Table], arguments: dict[str, Any]) -> None:
        import ray.data  # noqa: F401 (which _batches needs)

        self._batches = _batches(blocks, arguments)

    def next(self) -> Batch | None:
        """What _batches gives next; None: that was all."""
        return next(self._batches, None)


def _last(arguments: dict[str, Any]) -> Iterator[tuple[int, Outcome]]:
    """Let no further file appear. Gives what is settled and not forgotten yet, once files that are just being written
    are there, or will not be: what is left of those is removed.
    """
    import ray

    end = time.monotonic() + _LAST_WORDS_S
    while True:
        entries = ray.get(arguments["ledger"].stop.remote(), timeout=_LAST_WORDS_S)
        if time.monotonic() > end or not any(entry.is_appearing for _, entry in entries):
            break
        time.sleep(0.1)
    for index, entry in entries:
        outcome = pickle.loads(entry.outcome)
        if entry.is_appearing:  # its worker has died, or waits for a store
            item = outcome.task
            remove_unfinished(arguments["run"], item, entry.attempts, overwrite=arguments["force"])
            if not item.target.is_local or item.target.digest(item.target_name) != entry.digest:
                continue
        yield index, outcome


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C, and signals that ask for an end, wait until this is over."""
    waiting: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: waiting.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])


def pool(blocks: int | None, job: Any, threads: int) -> dict[str, Any]:
    """How Ray Data runs the workers: as many as the cluster has room for, and more as it grows, but no
    more than there are blocks.
    """
    import ray
    from ray.data import ActorPoolStrategy

    there = ray.cluster_resources()
    device = getattr(job, "device", "cpu")
    gpus = int(there.get("GPU", 0)) if device != "cpu" else 0
    if device == "cuda" and not gpus:
        raise UsageError("the cluster has no GPU", "use --device cpu")
    room = gpus or int(there.get("CPU", 1)) // threads
    size = max(1, room if blocks is None else min(room, blocks))
    return {
        "compute": ActorPoolStrategy(min_size=1, initial_size=size, max_tasks_in_flight_per_actor=2),
        "num_cpus": threads,
        **({"num_gpus": 1} if gpus else {}),
    }
