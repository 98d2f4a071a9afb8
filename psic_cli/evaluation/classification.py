"""Classification: what a model takes each version for, zero-shot by a vision-language model or by its own classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.codec import Version
from psic_cli.errors import InputError
from psic_cli.evaluation import seeing
from psic_cli.evaluation.attacks import Attack
from psic_cli.evaluation.metrics import Interval, average, ratio
from psic_cli.evaluation.robustness import AttackOutcome, Floats, outcomes
from psic_cli.evaluation.seeing import Seer, Shown, Views
from psic_cli.vlp.interface import VisionLanguageModel

PROMPT = "a photo of a {}."


@dataclass(frozen=True)
class Answers:
    """What a model answers for a set of pictures. rank: of the right class, 0 is first; label: the first class."""

    rank: Tensor
    label: Tensor


@dataclass(frozen=True)
class ZeroShot:
    """One model, one version, one quality (None for the original), over all pictures.

    top1, top5: accuracy. kept: accuracy as a share of the original's. agreement: share of pictures whose first label is
    the one that the original gets. attack_success: of the pictures that are right in the full version, the share that
    is wrong in this one; None for the original and the full version. None too where nothing is left to divide by.
    """

    model: str
    version: str
    quality: int | None
    pictures: int
    top1: Interval
    top5: Interval
    kept: Interval | None
    agreement: Interval
    attack_success: Interval | None


@dataclass(frozen=True)
class MachineGain:
    """What the machine version is good for: top-1 accuracy of one model in both versions that need the key.

    bpp: of the files, which are the same. gain: machine less full, resampling the same pictures.
    """

    model: str
    quality: int
    pictures: int
    bpp: Interval
    full: Interval
    machine: Interval
    gain: Interval


def class_embeddings(seer: Seer, names: Sequence[str] | None) -> Tensor:
    """The classes as a model's text tower sees them [classes, D]: those it brings, else the names in a prompt.

    InputError if there are neither.
    """
    own = getattr(seer, "class_text", None)
    if isinstance(own, Tensor):
        return F.normalize(own.detach().float().cpu(), dim=-1)
    if names is None:
        raise InputError(f"{seer.name} brings no classes", "put classes.txt, one class a line, beside the labels")
    vlp = cast(VisionLanguageModel, seer)  # whatever brings no classes of its own reads text
    return vlp.encode_text([PROMPT.format(name.partition(",")[0]) for name in names]).detach().float().cpu()


def answer(pictures: Tensor, classes: Tensor, truth: Tensor) -> Answers:
    """Classify embedded pictures [N, D] among classes [C, D]; truth: [N] class numbers.

    Ties count against the model, so that equal scores for everything are no success.
    """
    scores = pictures @ classes.T
    own = scores.gather(1, truth[:, None])
    return Answers(rank=(scores >= own).sum(1) - 1, label=scores.argmax(1))


def classify(
    views: Views, model: str, classes: Tensor, truth: Sequence[int], qualities: Sequence[int]
) -> list[ZeroShot]:
    """All versions in all qualities, after the original. classes: [C, D]. truth: class numbers, one for each view."""

    def row(version: str, quality: int | None, given: Answers, original: Answers, full: Answers | None) -> ZeroShot:
        return summarise(model, version, quality, given, original, full)

    return seeing.compare(views, model, qualities, _judge(classes, truth), row, lambda found: found.top1.value)


def machine_gains(
    views: Views, model: str, classes: Tensor, truth: Sequence[int], qualities: Sequence[int]
) -> list[MachineGain]:
    """The machine version against the full one, in each quality."""
    judge, gains = _judge(classes, truth), []
    for quality in qualities:
        full, machine = (
            (judge(views.embeddings(model, Shown(version.value, quality))).rank == 0).double().numpy()
            for version in (Version.FULL, Version.MACHINE)
        )
        bpp = average([view.bpp[quality] for view in views.views])
        gains.append(
            MachineGain(model, quality, len(full), bpp, average(full), average(machine), average(machine - full))
        )
    return gains


def under_attack(
    views: Views, model: str, classes: Tensor, truth: Sequence[int], qualities: Sequence[int], attacks: Sequence[Attack]
) -> list[AttackOutcome]:
    """Top-1 accuracy after each attack, in each quality."""
    judge = _judge(classes, truth)

    def right(embeddings: Tensor) -> dict[str, Floats]:
        return {"classification": (judge(embeddings).rank == 0).double().numpy()}

    asked = {"classification": np.ones(len(truth))}
    return outcomes(views, model, qualities, attacks, right, asked)


def _judge(classes: Tensor, truth: Sequence[int]) -> Callable[[Tensor], Answers]:
    target = torch.tensor(truth)
    return lambda embeddings: answer(embeddings, classes, target)


def summarise(
    model: str, version: str, quality: int | None, given: Answers, original: Answers, full: Answers | None
) -> ZeroShot:
    """Answers for one version against those for the original, and for the full version if an attack is judged."""
    right = given.rank == 0
    success = None if full is None else ratio(((full.rank == 0) & ~right).numpy(), (full.rank == 0).numpy())
    return ZeroShot(
        model=model,
        version=version,
        quality=quality,
        pictures=len(right),
        top1=average(right.tolist()),
        top5=average((given.rank < 5).tolist()),
        kept=ratio(right.numpy(), (original.rank == 0).numpy()),
        agreement=average((given.label == original.label).tolist()),
        attack_success=success,
    )


def check_classes(truth: Sequence[int], classes: Tensor, model: str) -> None:
    """InputError if a label is beyond the classes that a model knows."""
    if max(truth) >= len(classes):
        raise InputError(f"class_index {max(truth)} is beyond the {len(classes)} classes of {model}")
