"""How models come to see a picture: windows of it, and what happens to it on the way.

What misleads a model in many windows, smaller, blurred, noisy or saved as JPEG, misleads it as well after an upload,
and carries over better to models that took no part (input diversity, Xie et al., CVPR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.layers import filtered
from psic_cli.search.jpeg import JpegLike

WINDOWS = 6  # of a picture; the first is all of it
SMALLEST = 0.7  # of the shorter side, the smallest window
SEEN_SIDE = 448  # pixels: no model looks at more
NOISE = 8 / 255  # standard deviation
JPEG_QUALITY = (60, 90)


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture: rows top..bottom, columns left..right."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, x: Tensor) -> Tensor:
        """The part of pictures [B, 3, H, W], shrunk so that its shorter side is at most `SEEN_SIDE`."""
        return shrunk(x[..., self.top : self.bottom, self.left : self.right], SEEN_SIDE)


def draw_windows(height: int, width: int, generator: torch.Generator) -> list[Window]:
    """All of a picture, and squares at random places, `WINDOWS` in all."""
    short = min(height, width)
    windows = [Window(0, height, 0, width)]
    while len(windows) < WINDOWS:
        side = round(short * (SMALLEST + (1 - SMALLEST) * _uniform(generator)))
        top, left = (round(_uniform(generator) * (length - side)) for length in (height, width))
        windows.append(Window(top, top + side, left, left + side))
    return windows


def shrunk(x: Tensor, most: int) -> Tensor:
    """Pictures [B, 3, H, W] with a shorter side of at most `most` pixels."""
    height, width = size = x.shape[-2:]
    return resized(x, *shrunk_size(height, width, most)) if min(size) > most else x


def shrunk_size(height: int, width: int, most: int) -> tuple[int, int]:
    """Height and width with a shorter side of `most` pixels."""
    short = min(height, width)
    return round(height * most / short), round(width * most / short)


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Pictures [B, 3, H, W], made smaller. Along a side that stays as it is values stay what they are: a picture may
    be made narrower first, a few rows at a time.
    """
    return F.interpolate(x, (height, width), mode="bicubic", antialias=True, align_corners=False)


class Journey:
    """Draws what happens to a picture on its way to a model: nothing, half its size and back, blur, noise, or JPEG."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator, self._jpeg = generator, JpegLike()

    def __call__(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] in 0..1 -> the same shape, differentiable."""
        chance = _uniform(self._generator)
        if chance < 0.4:
            return x
        if chance < 0.6:
            size = [max(1, side // 2) for side in x.shape[-2:]]
            half = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
            return F.interpolate(half, x.shape[-2:], mode="bicubic", align_corners=False)
        if chance < 0.7:
            return filtered(x, x.new_tensor([0.05, 0.25, 0.4, 0.25, 0.05]))
        if chance < 0.85:
            device = self._generator.device
            noise = torch.randn(x.shape, generator=self._generator, dtype=torch.float32, device=device)
            return x + NOISE * noise.to(x.device)
        low, high = JPEG_QUALITY
        return self._jpeg(x, round(low + (high - low) * _uniform(self._generator)))


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand(1, generator=generator, dtype=torch.float32, device=generator.device))
