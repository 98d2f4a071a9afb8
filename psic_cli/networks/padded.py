"""A picture as networks take it, made of its levels a few rows at a time: as floats, a large one has gigabytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.backbone import PICTURE_MULTIPLE


def as_floats(levels: Tensor) -> Tensor:
    """uint8 -> 0..1."""
    return levels.float() / 255


def as_levels(x: Tensor, rows: slice) -> Tensor:
    """The way back, of rows that are not clamped and used up: see strips.Finish."""
    return x.float().clamp_(0, 1).mul_(255).round_().to(torch.uint8)


@dataclass(frozen=True)
class Padded:
    """Levels uint8 [1, 3, H, W] as floats in 0..1, the last row and column repeated until both sides are multiples of
    64. Of the dimensions, only rows can be chosen from: see strips.Rows.

    added: rows of the picture -> what is added to them, [1, 3, rows, W].
    """

    levels: Tensor
    added: Callable[[slice], Tensor] | None = None

    @property
    def shape(self) -> torch.Size:
        """[1, 3, H', W']."""
        height, width = (-(-side // PICTURE_MULTIPLE) * PICTURE_MULTIPLE for side in self.levels.shape[2:])
        return torch.Size((*self.levels.shape[:2], height, width))

    def __getitem__(self, where: tuple[slice, slice, slice]) -> Tensor:
        rows, (height, width) = where[2], self.levels.shape[2:]
        own = slice(min(rows.start, height - 1), min(rows.stop, height))
        x = as_floats(self.levels[:, :, own])
        if self.added is not None:
            x += self.added(own)
        missing = self.shape[3] - width, rows.stop - rows.start - x.shape[2]
        return F.pad(x, (0, missing[0], 0, missing[1]), mode="replicate")
