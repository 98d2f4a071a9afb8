"""Audit one file: its bytes to what models read in its versions, as `psic audit --json` prints it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from psic_cli import __version__, zoo
from psic_cli.jobs import Secret
from psic_cli.search.effort import DEFAULT_EFFORT
from psic_cli.shell.opening import DEFAULT_MAX_PIXELS
from psic_cli.shell.outcome import Outcome, naming
from psic_cli.turns import Turn

if TYPE_CHECKING:
    from psic_cli.evaluation.audit import Audited, Reader
    from psic_cli.evaluation.audit_inputs import Prepared


@dataclass(frozen=True)
class Auditing:
    """What `psic audit` was asked for. specs: the models that read; labels: what they choose from, none: ImageNet's;
    captions: sentences. The others: how pictures are encoded, and as in `Encoding`.
    """

    specs: tuple[str, ...]
    model: str
    weights_hash: bytes
    labels: tuple[str, ...] | None = None
    captions: tuple[str, ...] = ()
    quality: int = 50
    effort: int = DEFAULT_EFFORT
    max_pixels: int = DEFAULT_MAX_PIXELS
    device: str = "auto"

    def load(self) -> None:
        """The models that read, which are kept. Raises what is wrong with them."""
        self._readers()

    def work(
        self,
        source: bytes,
        outcome: Outcome,
        secret: Secret,
        turn: Turn,
        advance: Callable[[int, int], None] | None = None,
    ) -> None:
        """Fill in the outcome, as `Job` says: without a secret a sealed file is read in its protected version alone."""
        from psic_cli.evaluation import audit_inputs, audit_text
        from psic_cli.evaluation.coding import Making

        name, device = outcome.task.source_name, zoo.choose_device(self.device)
        with turn(0), naming(name):
            if audit_inputs.is_psic(name, source):
                prepared = audit_inputs.prepare_file(source, None, secret, device, self.max_pixels)
            else:
                network = zoo.load(self.model, self.weights_hash, device=device)
                making = Making(effort=self.effort)
                prepared = audit_inputs.prepare_picture(source, network, self.quality, making, self.max_pixels)
            audited = measure(name, prepared, self._readers(), device)
        outcome.lap("audit")
        outcome.width, outcome.height = audited.width, audited.height
        outcome.coded_bytes = round(audited.bpp * audited.width * audited.height / 8)
        outcome.data = audit_text.to_json(about(self.specs, device), [audited], []).encode()
        outcome.facts = {"verdicts": {found.model: _verdicts(found) for found in audited.audits}}
        outcome.words = "; ".join(audit_text.sentence(found) for found in audited.audits)

    def _readers(self) -> list[Reader]:
        return _kept_readers(self.specs, self.labels, self.captions, zoo.choose_device(self.device))


def _verdicts(found: object) -> dict[str, str]:
    from psic_cli.evaluation.audit import Audit

    assert isinstance(found, Audit)
    return {reading.version: reading.verdict.value for reading in found.readings if reading.verdict is not None}


def measure(name: str, prepared: Prepared, readers: Sequence[Reader], device: str) -> Audited:
    """What all models read in the versions of one file. name: for people."""
    from psic_cli.evaluation import audit as measuring

    card = prepared.card
    width, height = prepared.size
    audits = (
        measuring.audit(
            prepared.versions,
            reader,
            trained_against=None if card is None else measuring.was_trained_against(reader.vlp.name, card.data),
            device=device,
        )
        for reader in readers
    )
    return measuring.Audited(
        file=name,
        width=width,
        height=height,
        codec=None if card is None else card.name,
        weights_hash=None if card is None else card.weights_hash.hex(),
        quality=prepared.quality,
        bpp=prepared.bpp,
        psnr=measuring.losses(prepared.versions),
        audits=tuple(audits),
    )


def readers_of(
    specs: Sequence[str], labels: Sequence[str] | None, captions: Sequence[str], device: str
) -> list[Reader]:
    """The models that read, each with what it may answer."""
    from psic_cli.evaluation.audit import make_reader
    from psic_cli.vlp.interface import load_vlp

    known = None if labels is None else list(labels)
    return [make_reader(load_vlp(spec, device), known, list(captions)) for spec in specs]


_kept_readers = lru_cache(maxsize=2)(readers_of)


def about(specs: Sequence[str], device: str) -> dict[str, object]:
    """What a reader must know to measure the same again, and of the models that read."""
    import torch

    from psic_cli.vlp.interface import find_witness

    vlps = []
    for spec in specs:
        card = find_witness(spec)
        known = {} if card is None else card.data
        vlps.append({"spec": spec, **{key: known.get(key) for key in ("description", "use", "use_note", "sha256")}})
    return {"psic": __version__, "torch": torch.__version__, "device": device, "vlps": vlps}
