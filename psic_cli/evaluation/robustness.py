"""What is left of the shield after an attack: each figure on the attacked protected version, and on the original after
the same attack, since an attack costs the original too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from psic_cli.evaluation.attacks import NONE, Attack
from psic_cli.evaluation.metrics import Interval, ratio
from psic_cli.evaluation.seeing import Views, attacked_original, attacked_protected

Floats = npt.NDArray[np.float64]
Right = Mapping[str, Mapping[str, Floats]]  # [pictures] right answers, by attack and task


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


def outcomes(
    views: Views,
    model: str,
    qualities: Sequence[int],
    attacks: Sequence[Attack],
    right: Callable[[Tensor], dict[str, Floats]],
    asked: dict[str, Floats],
) -> list[AttackOutcome]:
    """Every attack on every task in every quality. attacks: the first of them is none at all.

    right: embeddings [pictures, D] -> by task, [pictures] right answers. asked: by task, [pictures] questions.
    """
    originals = {attack.name: right(views.embeddings(model, attacked_original(attack))) for attack in attacks}
    rows = []
    for quality in qualities:
        shielded = {a.name: right(views.embeddings(model, attacked_protected(a, quality))) for a in attacks}
        rows += [
            outcome(task, model, quality, attack.name, (originals, shielded), asked[task])
            for task in asked
            for attack in attacks
        ]
    return rows


def outcome(
    task: str, model: str, quality: int, attack: str, right: tuple[Right, Right], asked: Floats
) -> AttackOutcome:
    """One attack, and none. right: answers to the original and to the protected version."""
    original, protected = (answers[attack][task] for answers in right)
    whole = right[0][NONE][task] - right[1][NONE][task]
    return AttackOutcome(
        task=task,
        model=model,
        quality=quality,
        attack=attack,
        pictures=len(asked),
        original=_share(original, asked),
        protected=_share(protected, asked),
        drop=_share(original - protected, asked),
        remaining=ratio(original - protected, whole) if whole.sum() > 0 else None,
    )


def _share(right: Floats, asked: Floats) -> Interval:
    share = ratio(right, asked)
    assert share is not None  # every picture is asked about
    return share
