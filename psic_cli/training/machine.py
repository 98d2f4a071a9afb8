"""The machine version's loss: a picture that models read as they read the original, without any task's labels.

After UG-ICM (AAAI 2025, arXiv 2501.04579): 1 - cosine between embeddings of the original and of the decoded picture at
three granularities: the whole picture, a crop of it, and an object in its box with the rest masked. Where nobody gives
boxes, random ones stand in.

Models that tell what they see where are followed there as well, at several depths (Johnson et al., ECCV 2016):
embeddings alone say so little of a picture that the version learned what its surrogates like, and others liked less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.training.diversity import resize
from psic_cli.vlp.interface import MappingModel, VisionLanguageModel

CROP_SHARE = (0.3, 0.7)  # side of a crop, of the picture's
BOX_SHARE = (0.3, 0.8)  # sides of a box, of the picture's
GREY = 0.5  # what is masked becomes
SIDE = 224  # pixels, of a crop as models see it
MAPS_SHARE = 0.5  # of the loss, for features of the picture's places; the rest is the embedding's

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
    models: Sequence[VisionLanguageModel], decoded: Tensor, x: Tensor, turn: int, generator: np.random.Generator
) -> Tensor:
    """How differently models see each decoded picture and its original in one view, the mean over models: [B].

    Views take turns (whole, crop, whole, object), because each costs two passes. decoded, x: [B, 3, H, W].
    """
    if turn % 4 == 1:
        view = crops(random_boxes(len(x), CROP_SHARE, square=True, generator=generator), SIDE)
        decoded, x = view(decoded), view(x)
    elif turn % 4 == 3:
        view = objects(random_boxes(len(x), BOX_SHARE, square=False, generator=generator))
        decoded, x = view(decoded), view(x)
    return torch.stack([_seen_differently(model, decoded, x) for model in models]).mean(0)


def _seen_differently(model: VisionLanguageModel, decoded: Tensor, x: Tensor) -> Tensor:
    """1 - cosine of what the model sees: embeddings, and MAPS_SHARE of it features, the mean over depths and places."""
    with torch.no_grad():
        known, known_maps = _look(model, x)
    seen, maps = _look(model, decoded)
    # In float32 under autocast too: bfloat16 knows only every 256th of a cosine near 1.
    lost = 1 - F.cosine_similarity(seen.float(), known.float(), dim=1)
    if not maps:
        return lost
    places = [
        1 - F.cosine_similarity(one.float(), own.float(), dim=1).mean((1, 2))
        for one, own in zip(maps, known_maps, strict=True)
    ]
    return (1 - MAPS_SHARE) * lost + MAPS_SHARE * torch.stack(places).mean(0)


def _look(model: VisionLanguageModel, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Embeddings, and features at several depths if the model tells them."""
    if isinstance(model, MappingModel):
        return model.encode_with_maps(pictures)
    return model.encode_image(pictures), []
