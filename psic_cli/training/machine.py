"""The machine version's loss: a picture that models read as they read the original, without any task's labels.

After UG-ICM (AAAI 2025, arXiv 2501.04579): 1 - cosine between embeddings of the original and of the decoded picture at
three granularities: the whole picture, a crop of it, and an object in its box with the rest masked. Where nobody gives
boxes, random ones stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from psic_cli.training.diversity import resize
from psic_cli.training.losses import misread, recognition
from psic_cli.vlp.interface import VisionLanguageModel

CROP_SHARE = (0.3, 0.7)  # side of a crop, of the picture's
BOX_SHARE = (0.3, 0.8)  # sides of a box, of the picture's
GREY = 0.5  # what is masked becomes
SIDE = 224  # pixels, of a crop as models see it

View = Callable[[Tensor], Tensor]


def random_boxes(count: int, shares: tuple[float, float], square: bool, generator: np.random.Generator) -> np.ndarray:
    """Boxes (top, left, bottom, right) as shares of the picture: float64 [count, 4]."""
    sides = generator.uniform(*shares, size=(count, 2))
    if square:
        sides[:, 1] = sides[:, 0]
    corner = generator.uniform(size=(count, 2)) * (1 - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def _in_pixels(box: np.ndarray, x: Tensor) -> tuple[slice, slice]:
    """Rows and columns of a box, at least one of each."""
    height, width = x.shape[-2:]
    top, left = min(height - 1, int(box[0] * height)), min(width - 1, int(box[1] * width))
    bottom, right = max(top + 1, round(box[2] * height)), max(left + 1, round(box[3] * width))
    return slice(top, bottom), slice(left, right)


def crops(boxes: np.ndarray, side: int) -> View:
    """A view of each picture's own box, resized to side x side."""

    def look(x: Tensor) -> Tensor:
        parts = []
        for number, box in enumerate(boxes):
            rows, columns = _in_pixels(box, x)
            parts.append(resize(x[number : number + 1, :, rows, columns], side, side))
        return torch.cat(parts)

    return look


def objects(boxes: np.ndarray) -> View:
    """A view of each picture with everything outside its box masked."""

    def look(x: Tensor) -> Tensor:
        mask = torch.zeros_like(x[:, :1])
        for number, box in enumerate(boxes):
            rows, columns = _in_pixels(box, x)
            mask[number, :, rows, columns] = 1.0
        return mask * x + (1 - mask) * GREY

    return look


def machine_loss(
    models: Sequence[VisionLanguageModel],
    decoded: Tensor,
    x: Tensor,
    originals: list[Tensor],
    turn: int,
    generator: np.random.Generator,
) -> Tensor:
    """1 - cosine of each picture in one view, the mean over models: [B].

    Views take turns (whole, crop, whole, object), because each costs a pass through all models. decoded, x:
    [B, 3, H, W]. originals: for each model the unit vectors [B, D] of x.
    """
    if turn % 2 == 0:
        return 1 - recognition(models, decoded, originals)
    if turn % 4 == 1:
        view = crops(random_boxes(len(x), CROP_SHARE, square=True, generator=generator), SIDE)
    else:
        view = objects(random_boxes(len(x), BOX_SHARE, square=False, generator=generator))
    return misread(models, view(decoded), view(x))
