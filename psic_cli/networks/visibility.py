"""How well people see a change at each place of a picture: what a shield costs, and where the guide puts its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.transforms import STRIDE

VISIBLE = 0.9  # weight of what people see in the distortion
FRAME = 3.0  # weight of the outermost cells: networks know where a picture ends, and people see a pattern there as one


def visible(x: Tensor) -> Tensor:
    """How well people see a difference at each place of a picture [B, 3, H, W]: [B, 1, H, W].

    Texture masks, a clear sky shows everything: 1 where the picture is flat, a quarter where its brightness has a
    standard deviation of 8 levels within 9x9 pixels, 1/50 at 20 levels; `FRAME` times as much along the four edges.
    """
    brightness = x.mean(1, keepdim=True)
    variance = (_around(brightness.square()) - _around(brightness).square()).clamp_min(0)
    masking = (8 / 255) ** 2
    seen = (masking / (masking + variance)).square()
    framed = torch.full_like(seen, FRAME)
    framed[..., STRIDE:-STRIDE, STRIDE:-STRIDE] = 1.0
    return seen * framed


def _around(x: Tensor) -> Tensor:
    """Mean over 9x9 pixels, rows first and columns then: [B, 1, H, W] -> the same."""
    rows = F.avg_pool2d(x, (9, 1), stride=1, padding=(4, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, 9), stride=1, padding=(0, 4), count_include_pad=False)


def price(seen: Tensor) -> Tensor:
    """Weight of a squared error at each place [B, 1, H, W]: the plain one, and for the larger part as people see it.

    seen: `visible(x)`.
    """
    return 1 - VISIBLE + VISIBLE * seen
