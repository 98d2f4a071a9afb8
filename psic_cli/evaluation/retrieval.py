"""Image-text retrieval: whether a vision-language model finds a version's captions, and by a caption the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from psic_cli.evaluation import seeing
from psic_cli.evaluation.attacks import Attack
from psic_cli.evaluation.metrics import Interval, average, ratio
from psic_cli.evaluation.robustness import AttackOutcome, Floats, outcomes
from psic_cli.evaluation.seeing import Views

DEPTHS = (1, 5, 10)


@dataclass(frozen=True)
class Ranks:
    """How many wrong answers come before the first right one. pictures: [N], among captions; captions: [T], among
    pictures.
    """

    pictures: Tensor
    captions: Tensor


@dataclass(frozen=True)
class Retrieval:
    """One model, one version, one quality (None for the original); pictures of this version on both sides.

    image_to_text, text_to_image: recall at 1, 5 and 10. attack_success_*: of the queries whose first answer is right
    in the full version, the share whose first answer is wrong in this one; None for the original and the full version,
    and where no query is right in the full one. Intervals resample pictures, with their captions, as queries; what is
    searched stays whole.
    """

    model: str
    version: str
    quality: int | None
    pictures: int
    captions: int
    image_to_text: dict[str, Interval]
    text_to_image: dict[str, Interval]
    attack_success_image_to_text: Interval | None
    attack_success_text_to_image: Interval | None


def rank(similarity: Tensor, owner: Tensor) -> Ranks:
    """similarity: [N pictures, T captions]; owner: [T], the picture of each caption. Every picture owns a caption.

    Ties count against the model.
    """
    own = owner[None] == torch.arange(len(similarity), device=owner.device)[:, None]
    best = similarity.masked_fill(~own, -torch.inf).max(1, keepdim=True).values
    before = ((similarity >= best) & ~own).sum(1)
    right = similarity.gather(0, owner[None])
    return Ranks(pictures=before, captions=((similarity >= right) & ~own).sum(0))


def retrieve(
    views: Views, model: str, texts: Tensor, owner: Sequence[int], qualities: Sequence[int]
) -> list[Retrieval]:
    """All versions in all qualities, after the original.

    texts: [T, D], the embedded captions. owner: of each caption the number of its view.
    """
    owners = torch.tensor(owner)

    def row(version: str, quality: int | None, given: Ranks, original: Ranks, full: Ranks | None) -> Retrieval:
        return summarise(model, version, quality, given, owners, full)

    def judge(embeddings: Tensor) -> Ranks:
        return rank(embeddings @ texts.T, owners)

    return seeing.compare(views, model, qualities, judge, row, lambda found: found.image_to_text["r1"].value)


def under_attack(
    views: Views, model: str, texts: Tensor, owner: Sequence[int], qualities: Sequence[int], attacks: Sequence[Attack]
) -> list[AttackOutcome]:
    """Recall at 1 both ways after each attack, in each quality."""
    owners, count = torch.tensor(owner), len(views.views)

    def right(embeddings: Tensor) -> dict[str, Floats]:
        ranks = rank(embeddings @ texts.T, owners)
        found = (ranks.pictures == 0).double().numpy()
        return {"image_to_text": found, "text_to_image": _per_picture(ranks.captions == 0, owners, count)}

    asked = {"image_to_text": np.ones(count), "text_to_image": _per_picture(torch.ones(len(owner)), owners, count)}
    return outcomes(views, model, qualities, attacks, right, asked)


def summarise(
    model: str, version: str, quality: int | None, given: Ranks, owner: Tensor, full: Ranks | None
) -> Retrieval:
    """Recalls of one version, and the success of the attack against the full one. owner: [T]."""
    count = len(given.pictures)
    asked = _per_picture(torch.ones(len(owner)), owner, count)
    to_image = {f"r{k}": ratio(_per_picture(given.captions < k, owner, count), asked) for k in DEPTHS}
    missed = None
    if full is not None:
        found_pictures, found_captions = full.pictures == 0, full.captions == 0
        missed = (
            ratio((found_pictures & (given.pictures > 0)).numpy(), found_pictures.numpy()),
            ratio(
                _per_picture(found_captions & (given.captions > 0), owner, count),
                _per_picture(found_captions, owner, count),
            ),
        )
    return Retrieval(
        model=model,
        version=version,
        quality=quality,
        pictures=count,
        captions=len(owner),
        image_to_text={f"r{k}": average((given.pictures < k).tolist()) for k in DEPTHS},
        text_to_image={key: value for key, value in to_image.items() if value is not None},
        attack_success_image_to_text=None if missed is None else missed[0],
        attack_success_text_to_image=None if missed is None else missed[1],
    )


def _per_picture(flags: Tensor, owner: Tensor, count: int) -> Floats:
    """Sums over the captions of each picture. flags, owner: [T] -> [count]."""
    return np.bincount(owner.numpy(), flags.double().numpy(), count).astype(np.float64)
