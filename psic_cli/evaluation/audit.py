"""What vision-language models read in the versions of one picture, and whether the shield made them misread it.

`make_reader` gives a model its labels and captions, `audit` lets it read all versions of a picture. Everything is
measured against a reference: the original, or the full version where there is no original. The verdicts rest on labels:

    still read       the version's first label is the reference's
    partly misread   another label is first, but the reference's is among the first five still (of fewer than ten
                     labels: among the first half)
    misread          it is not even there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.evaluation.classification import PROMPT
from psic_cli.evaluation.metrics import psnr
from psic_cli.picture import Pixels
from psic_cli.vlp.imagenet import imagenet_classes
from psic_cli.vlp.interface import VisionLanguageModel

ORIGINAL, PROTECTED, FULL = "original", "protected", "full"
PICTURE = "picture"  # as it is, whatever has been done to it
TOP = 5  # labels that are shown, and that count as read
WAVERS = 2.0  # a first label that is less than this many times as probable as the second is no firm reading


class Verdict(str, Enum):
    """What became of the reference's first label, see above."""

    STILL_READ = "still read"
    PARTLY_MISREAD = "partly misread"
    MISREAD = "misread"


@dataclass(frozen=True)
class Reader:
    """A model with what it may answer. label_embeddings: [labels, D]; caption_embeddings: [captions, D]."""

    vlp: VisionLanguageModel
    labels: tuple[str, ...]
    label_embeddings: Tensor
    captions: tuple[str, ...]
    caption_embeddings: Tensor | None

    @property
    def depth(self) -> int:
        """Up to which rank a label counts as read."""
        return max(1, min(TOP, len(self.labels) // 2))


@dataclass(frozen=True)
class Choice:
    """One label for one version. similarity: cosine of picture and text. rank: 1 is first."""

    label: str
    probability: float
    similarity: float
    rank: int


@dataclass(frozen=True)
class CaptionMatch:
    """One caption for one version. drop: of the similarity, against the reference; None without one."""

    caption: str
    similarity: float
    drop: float | None


@dataclass(frozen=True)
class Reading:
    """What a model reads in one version.

    top: its most probable labels. likeness: cosine of its embedding and the reference's. reference_label: what this
    version makes of the reference's first label; probability_drop, similarity_drop: what that label lost. verdict and
    the four before it are None where there is no reference; the reference itself has no verdict.
    """

    version: str
    top: tuple[Choice, ...]
    captions: tuple[CaptionMatch, ...]
    likeness: float | None = None
    reference_label: Choice | None = None
    probability_drop: float | None = None
    similarity_drop: float | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Audit:
    """What one model reads in all versions of one picture.

    reference: the version that the others are measured against, None if there is but one. wavers: the model has no firm
    reading of the reference, so that another label in another version says little. trained_against: whether the shield
    was; None if its card does not tell.
    """

    model: str
    trained_against: bool | None
    labels: int
    reference: str | None
    wavers: bool
    readings: tuple[Reading, ...]

    def reading(self, version: str) -> Reading | None:
        """What it reads in one version, None if that is not there."""
        return next((reading for reading in self.readings if reading.version == version), None)

    def choices(self, version: str) -> tuple[Choice, ...]:
        """The first labels of one version, and the reference's label behind them if it is not among them."""
        reading = self.reading(version)
        assert reading is not None
        wanted = reading.reference_label
        missing = wanted is not None and wanted.label not in {choice.label for choice in reading.top}
        return (*reading.top, wanted) if wanted is not None and missing else reading.top

    @property
    def most_probable(self) -> float:
        """The largest probability of all versions, which bars are scaled to."""
        return max(choice.probability for reading in self.readings for choice in reading.top)


@dataclass(frozen=True)
class Audited:
    """One file and all that was read in it. psnr: of each version against the original, decibels, where both have one
    size. codec and what follows: None for a picture that is read as it is.
    """

    file: str
    width: int
    height: int
    codec: str | None
    weights_hash: str | None
    quality: int | None
    bpp: float
    psnr: Mapping[str, float]
    audits: tuple[Audit, ...]


@dataclass(frozen=True)
class Count:
    """How often one model gave each verdict on one version, over all files. wavered: how many rest on no firm
    reading.
    """

    model: str
    trained_against: bool | None
    version: str
    files: int
    verdicts: Mapping[str, int]
    wavered: int


def make_reader(vlp: VisionLanguageModel, labels: Sequence[str] | None = None, captions: Sequence[str] = ()) -> Reader:
    """labels: None for the 1000 ImageNet classes, which a witness brings along embedded. ModelError if texts have to be
    embedded and cannot be.
    """
    own = getattr(vlp, "class_text", None)
    names = tuple(imagenet_classes() if labels is None else labels)
    if labels is None and isinstance(own, Tensor) and len(own) == len(names):
        embeddings = F.normalize(own.detach().float().cpu(), dim=-1)
    else:
        words = [first_name(name) for name in names] if labels is None else names
        embeddings = vlp.encode_text([PROMPT.format(word) for word in words]).detach().float().cpu()
    embedded = vlp.encode_text(list(captions)).detach().float().cpu() if captions else None
    return Reader(vlp, names, embeddings, tuple(captions), embedded)


def first_name(label: str) -> str:
    """The first of the synonyms in the name of an ImageNet class."""
    return label.partition(",")[0]


def audit(
    versions: Mapping[str, Pixels], reader: Reader, *, trained_against: bool | None = None, device: str = "cpu"
) -> Audit:
    """Let a model read all versions of one picture, [H, W, 3] uint8 each, by their names (ORIGINAL, PROTECTED, ...)."""
    seen = {version: _look(rgb, reader.vlp, device) for version, rgb in versions.items()}
    reference = next((name for name in (ORIGINAL, FULL) if name in seen and len(seen) > 1), None)
    wavers = False
    if reference is not None:
        first, second, *_ = _probabilities(seen[reference], reader).topk(2).values.tolist()
        wavers = first < WAVERS * second
    readings = tuple(
        _read(version, seen[version], None if reference is None else seen[reference], reader, version == reference)
        for version in seen
    )
    return Audit(reader.vlp.name, trained_against, len(reader.labels), reference, wavers, readings)


def losses(versions: Mapping[str, Pixels]) -> dict[str, float]:
    """PSNR in decibels of every version that is as large as the original; empty if that is not among them."""
    original = versions.get(ORIGINAL)
    if original is None:
        return {}
    same = {name: rgb for name, rgb in versions.items() if name != ORIGINAL and rgb.shape == original.shape}
    return {name: psnr(original, rgb) for name, rgb in same.items()}


def was_trained_against(model: str, card: Mapping[str, Any]) -> bool | None:
    """Whether a codec's card lists a model, "witness:lite0" say, among its surrogates; None if it lists nothing."""
    training = card.get("training")  # some cards have a sentence there
    surrogates = training.get("surrogates") if isinstance(training, Mapping) else None
    if not isinstance(surrogates, list):
        return None
    family, _, name = model.partition(":")
    for family_of_surrogate, _, rest in (str(spec).partition(":") for spec in surrogates):
        if family_of_surrogate == family and name in (rest, Path(rest).stem.removeprefix("witness-")):
            return True
    return False


def count(audited: Sequence[Audited]) -> list[Count]:
    """The verdicts of each model on each version, over all files; versions without any verdict are left out."""
    judged: dict[tuple[str, bool | None, str], list[tuple[Verdict, bool]]] = {}
    for file in audited:
        for found in file.audits:
            for reading in found.readings:
                if reading.verdict is not None:
                    key = (found.model, found.trained_against, reading.version)
                    judged.setdefault(key, []).append((reading.verdict, found.wavers))
    return [
        Count(
            model=model,
            trained_against=trained,
            version=version,
            files=len(given),
            verdicts={verdict.value: sum(v is verdict for v, _ in given) for verdict in Verdict},
            wavered=sum(wavers for _, wavers in given),
        )
        for (model, trained, version), given in judged.items()
    ]


@torch.inference_mode()
def _look(rgb: Pixels, vlp: VisionLanguageModel, device: str) -> Tensor:
    """[D]: one picture at a time, because large ones fill the memory."""
    picture = torch.from_numpy(rgb).to(device).permute(2, 0, 1)[None].float() / 255
    return vlp.encode_image(picture)[0].float().cpu()


def _probabilities(embedding: Tensor, reader: Reader) -> Tensor:
    """[labels], which sum to 1."""
    return (reader.vlp.logit_scale * (reader.label_embeddings @ embedding)).softmax(0)


def _read(version: str, embedding: Tensor, reference: Tensor | None, reader: Reader, is_reference: bool) -> Reading:
    order = _order(embedding, reader)
    top = tuple(_choice(int(index), embedding, reader) for index in order[:TOP])
    captions = _match(embedding, reference, reader)
    if reference is None:
        return Reading(version, top, captions)
    label = int(_order(reference, reader)[0])
    before, now = _choice(label, reference, reader), _choice(label, embedding, reader)
    return Reading(
        version,
        top,
        captions,
        likeness=float(embedding @ reference),
        reference_label=now,
        probability_drop=before.probability - now.probability,
        similarity_drop=before.similarity - now.similarity,
        verdict=None if is_reference else _judge(now.rank, reader.depth),
    )


def _judge(rank: int, depth: int) -> Verdict:
    if rank == 1:
        return Verdict.STILL_READ
    return Verdict.PARTLY_MISREAD if rank <= depth else Verdict.MISREAD


def _order(embedding: Tensor, reader: Reader) -> Tensor:
    """Label numbers, the most similar first; equal ones in the order of the list."""
    return (reader.label_embeddings @ embedding).argsort(descending=True, stable=True)


def _choice(index: int, embedding: Tensor, reader: Reader) -> Choice:
    return Choice(
        label=reader.labels[index],
        probability=float(_probabilities(embedding, reader)[index]),
        similarity=float(reader.label_embeddings[index] @ embedding),
        rank=_order(embedding, reader).tolist().index(index) + 1,
    )


def _match(embedding: Tensor, reference: Tensor | None, reader: Reader) -> tuple[CaptionMatch, ...]:
    if reader.caption_embeddings is None:
        return ()
    similarities = (reader.caption_embeddings @ embedding).tolist()
    if reference is None:
        return tuple(CaptionMatch(text, s, None) for text, s in zip(reader.captions, similarities, strict=True))
    before = (reader.caption_embeddings @ reference).tolist()
    rows = zip(reader.captions, similarities, before, strict=True)
    return tuple(CaptionMatch(text, now, then - now) for text, now, then in rows)
