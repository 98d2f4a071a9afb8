"""The actor that holds the model and works on pictures: the counterpart of `shell/batch.py` for one machine."""

from __future__ import annotations

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from psic_cli import __version__, runtime
from psic_cli.errors import InputError, PsicError, UsageError
from psic_cli.jobs import Job
from psic_cli.ray.listing import Item
from psic_cli.shell.outcome import Outcome, attempting
from psic_cli.turns import Turns

_MOST_ATTEMPTS = 3
_AT_ONCE = 2  # pictures: one is read or written while the network computes another


class Worker:
    """Does the items of a batch and gives back their outcomes, both pickled.

    ledger: handle of the `Ledger`. run: names this run's unfinished files. force, skip_existing: what becomes of files
    that are there. version: of the psic that sends the work.
    """

    def __init__(
        self, ledger: Any, run: str, job: Job, threads: int, force: bool, skip_existing: bool, version: str
    ) -> None:
        import ray

        self._ray, self._ledger, self._run, self._job = ray, ledger, run, job
        self._force, self._skip_existing = force, skip_existing
        self._turn = Turns()  # one computes
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._trouble: PsicError | None = (
            None  # raised by the work: Ray starts other workers for one that fails to start
        )
        try:
            if version != __version__:
                message = f"the cluster has psic {__version__}, this machine {version}"
                raise UsageError(message, "install the same version everywhere")
            secret = ray.get(ledger.secret.remote())
            self._secret = None if secret is None else lambda: bytes(secret.value)
            runtime.set_environment()
            runtime.use_threads(threads)
            job.load()
        except PsicError as error:
            self._trouble = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """item -> index, outcome."""
        if self._trouble is not None:
            raise self._trouble
        items = [pickle.loads(item) for item in batch["item"]]
        indexes = [item.index for item in items]
        # Whatever killed a worker is found by itself, so that no other picture is blamed for it.
        alone = self._ray.get(self._ledger.begun.remote(indexes))
        outcomes = list((map if alone else self._pool.map)(self._settle, items))
        return {"index": np.array(indexes), "outcome": np.array(outcomes, dtype=object)}

    def _settle(self, item: Item) -> bytes:
        entry = self._ray.get(self._ledger.begin.remote(item.index))
        remove_unfinished(self._run, item, entry.attempts - 1, overwrite=self._force)
        if entry.outcome is not None:  # by a worker that has died since
            with attempting(Outcome(item)):
                if entry.digest is None or entry.digest == item.target.digest(item.target_name):
                    return bytes(entry.outcome)
        outcome = Outcome(item)
        with attempting(outcome):
            if entry.attempts > _MOST_ATTEMPTS:
                message = f"{item.source_name}: {_MOST_ATTEMPTS} workers died while they worked on it"
                raise InputError(message, "is there memory enough for it?")
            self._attempt(item, outcome, unfinished_token(self._run, item, entry.attempts))
        packed = _pack(outcome)
        if outcome.error is not None or outcome.skipped:
            self._ray.get(self._ledger.settle.remote(item.index, packed, None))
        return packed

    def _attempt(self, item: Item, outcome: Outcome, token: str) -> None:
        if item.problem is not None:
            raise item.problem
        if self._skip_existing and item.target.is_there(item.target_name):
            outcome.skipped = outcome.settled = True
            return
        item.target.check(item.target_name, overwrite=self._force)  # before minutes of work
        source = item.place.read(item.name)
        outcome.bytes_in = len(source)
        self._job.work(source, outcome, self._secret, self._turn)
        outcome.publish()
        draft = _pack(replace(outcome, data=b""))
        digest = hashlib.sha256(outcome.data).digest()
        if not self._ray.get(self._ledger.settle.remote(item.index, draft, digest)):
            raise InputError(f"{item.source_name}: stopped")
        like = item.local_source
        item.target.write(item.target_name, outcome.data, overwrite=self._force, like=like, token=token)
        self._ledger.published.remote(item.index)


def unfinished_token(run: str, item: Item, attempt: int) -> str:
    """What an attempt calls its unfinished file, unlike any other attempt of any run."""
    return f"{run}-{item.index}-{attempt}"


def remove_unfinished(run: str, item: Item, attempts: int, *, overwrite: bool) -> None:
    """Remove what the first `attempts` at an item have left, as workers that are killed cannot."""
    for attempt in range(1, attempts + 1):
        item.target.remove_unfinished(item.target_name, unfinished_token(run, item, attempt), overwrite=overwrite)


def _pack(outcome: Outcome) -> bytes:
    """To bytes, whatever was raised: exceptions of libraries may not survive the way, their words do."""
    try:
        packed = pickle.dumps(outcome)
        pickle.loads(packed)
    except Exception:
        error = outcome.error
        told = RuntimeError(f"{type(error).__name__}: {error}")
        packed = pickle.dumps(replace(outcome, error=told))
    return packed
