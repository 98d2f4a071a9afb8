"""What feature maps are asked of: the whole picture as a square; and which maps, by their depth in a tower."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def squared(pictures: Tensor, side: int) -> Tensor:
    """[B, C, H, W] -> [B, C, side, side], bicubic with antialiasing: oblong pictures are squeezed, not cut."""
    if pictures.shape[-2:] == (side, side):
        return pictures
    return F.interpolate(pictures, (side, side), mode="bicubic", antialias=True, align_corners=False)


def chosen(depths: Sequence[float], count: int) -> list[int]:
    """Which of a tower's `count` maps are meant: 1 is the last, 0.5 the one in the middle, 0 the first."""
    return [max(0, math.ceil(depth * count) - 1) for depth in depths]
