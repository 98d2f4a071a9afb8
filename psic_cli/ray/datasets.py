"""psic for people who have a Ray Dataset already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from psic_cli.errors import UsageError
from psic_cli.search.effort import DEFAULT_EFFORT
from psic_cli.shell.exit_codes import exit_code_for
from psic_cli.shell.outcome import Outcome, attempting
from psic_cli.turns import Turns

if TYPE_CHECKING:
    from ray.data import Dataset


def encode_dataset(
    dataset: Dataset,
    *,
    key: bytes | None = None,
    open: bool = False,
    column: str = "bytes",
    model: str | None = None,
    quality: int = 50,
    strength: float = 1.0,
    effort: int = DEFAULT_EFFORT,
    strip: bool = False,
    keep_hidden: bool = False,
    max_pixels: int = 200_000_000,
    device: str = "auto",
    threads: int = 1,
    **map_batches: Any,
) -> Dataset:
    """The Dataset with a .psic file in place of each picture; nothing is computed before it is consumed.

    column: holds picture files as bytes, as `ray.data.read_binary_files` gives them; it is left out of the result,
    whose other columns stay, and which has these besides: `psic` (the file's bytes, empty if it failed), `error` (one
    line, empty if it did not), `exit_code` (of `psic encode`, 0), `width`, `height`, `warnings` (lines).

    key: the 32 bytes of `psic_cli.keys.read_key_file`, or `open=True` for files that anybody may decode in full; it
    stays in the memory of the cluster's processes. threads: that a worker computes with, a core each. map_batches:
    further arguments of `Dataset.map_batches`, in place of those that psic chooses: `compute`, `num_gpus`, ... The
    other options are those of `psic encode`. Raises UsageError for contradictions, ModelError for an unknown model.
    """
    from psic_cli import packages, zoo
    from psic_cli.jobs.encoding import Encoding

    packages.need("pyarrow", "psic_cli.ray", "ray")
    if open is (key is not None):
        raise UsageError("a key or open=True, one of the two", "keys.read_key_file gives the bytes of a key")
    card = zoo.find_card(model or zoo.DEFAULT_MODEL)
    job = Encoding(
        model=card.name,
        weights_hash=card.weights_hash,
        quality=quality,
        strength=round(100 * strength),
        effort=effort,
        strip=strip,
        keep_hidden=keep_hidden,
        max_pixels=max_pixels,
        device=device,
    )
    from psic_cli.ray import ledger
    from psic_cli.ray.run import pool

    chosen = pool(None, job, threads) | map_batches
    arguments = {"ledger": ledger.start(key), "job": job, "column": column, "threads": threads}
    return dataset.map_batches(Encoder, batch_size=1, fn_constructor_kwargs=arguments, **chosen)


@dataclass(frozen=True)
class Row:
    """What messages call a picture of a Dataset: not at all, as its row has other columns."""

    source: None = None
    destination: None = None
    source_name: str = "the picture"
    destination_name: str = "psic"


class Encoder:
    """The actor: holds the model, and encodes what is in one column."""

    def __init__(self, ledger: Any, job: Any, column: str, threads: int) -> None:
        import ray

        from psic_cli import runtime

        runtime.set_environment()
        runtime.use_threads(threads)
        kept = ray.get(ledger.secret.remote())
        self._secret = None if kept is None else lambda: bytes(kept.value)
        self._job, self._column, self._turn = job, column, Turns()
        job.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch of rows in columns, to the same with the columns that `encode_dataset` names."""
        kept = {name: values for name, values in batch.items() if name != self._column}
        rows = [self._encode(bytes(source)) for source in batch[self._column]]
        made = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
        return kept | {name: _array(values) for name, values in made.items()}

    def _encode(self, source: bytes) -> dict[str, Any]:
        outcome, data = Outcome(Row()), b""
        with attempting(outcome):
            self._job.work(source, outcome, self._secret, self._turn)
            data = outcome.data
        error = outcome.error
        return {
            "psic": data,
            "error": "" if error is None else " ".join(str(error).split()),
            "exit_code": 0 if error is None else int(exit_code_for(error)),
            "width": outcome.width,
            "height": outcome.height,
            "warnings": outcome.warnings,
        }


def _array(values: list[Any]) -> Any:
    if isinstance(values[0], int):
        return np.array(values)
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made
