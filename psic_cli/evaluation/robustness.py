"""What is left of the shield after an attack: each figure on the attacked protected version, and on the original after
the same attack, since an attack costs the original too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from psic_cli.evaluation.metrics import Interval, ratio

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AttackOutcome:
    """One model, one quality, one attack.

    task: "classification" (figures are top-1 accuracy), "image_to_text" or "text_to_image" (recall at 1). original,
    protected: the figure after the attack. drop: original less protected, what the shield still does. remaining: that
    drop as a share of the drop without any attack, 1 where the attack changes nothing, 0 where the shield is gone; None
    where nothing drops without an attack. Intervals resample pictures, the same ones for both sides of a difference.
    """

    task: str
    model: str
    quality: int
    attack: str
    pictures: int
    original: Interval
    protected: Interval
    drop: Interval
    remaining: Interval | None


@dataclass(frozen=True)
class AttackMatrix:
    """Models x attacks. attacks: what each does in words, by name, in the order in which they were asked for."""

    attacks: dict[str, str]
    outcomes: list[AttackOutcome]


@dataclass(frozen=True)
class Scores:
    """Right answers of one task. of_original, of_protected: [pictures], by attack; asked: [pictures] questions each."""

    of_original: dict[str, Floats]
    of_protected: dict[str, Floats]
    asked: Floats


def outcome(task: str, model: str, quality: int, attack: str, scores: Scores, unattacked: str) -> AttackOutcome:
    """One attack against the scores without any, which stand under the name `unattacked`."""
    original, protected = scores.of_original[attack], scores.of_protected[attack]
    whole = scores.of_original[unattacked] - scores.of_protected[unattacked]
    return AttackOutcome(
        task=task,
        model=model,
        quality=quality,
        attack=attack,
        pictures=len(scores.asked),
        original=_share(original, scores.asked),
        protected=_share(protected, scores.asked),
        drop=_share(original - protected, scores.asked),
        remaining=ratio(original - protected, whole) if whole.sum() > 0 else None,
    )


def _share(right: Floats, asked: Floats) -> Interval:
    share = ratio(right, asked)
    assert share is not None  # every picture is asked about
    return share
