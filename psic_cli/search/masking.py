"""How well people see a change at each place of a picture: what a shield costs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.backbone import STRIDE

VISIBLE = 0.9  # weight of what people see in the distortion
FRAME = 3.0  # weight of the outermost cells: networks know where a picture ends, and people see a pattern there as one
AROUND = 9  # pixels: side of the square that hides a change in its middle
HIDING = 2 / 255  # detail that hides half of an error's amplitude
LEAST_DETAIL = 1e-8  # its root has a gradient


def visible(x: Tensor) -> Tensor:
    """How well people see a difference at each place of a picture [B, 3, H, W]: [B, 1, H, W].

    Texture masks, a clear sky shows everything: 1 where the picture is flat, a quarter where its detail is 2 levels,
    1/50 at 5; `FRAME` times as much along the four edges. Detail is how far the brightness of pixels lies from the mean
    of 3x3 around them, and its mean over a square is the square of the mean root. So a contour counts little, which is
    all detail in a few places: people look at the calm side of one, and see what is drawn there. A gradient has none.
    """
    brightness = x.mean(1, keepdim=True)
    detail = (brightness - _around(brightness, 3)).abs().clamp_min(LEAST_DETAIL)
    detail = _around(detail.sqrt(), AROUND).square()
    masking = HIDING**2
    seen = (masking / (masking + detail.square())).square()
    framed = torch.full_like(seen, FRAME)
    framed[..., STRIDE:-STRIDE, STRIDE:-STRIDE] = 1.0
    return seen * framed


def _around(x: Tensor, side: int) -> Tensor:
    """Mean over a square, rows first and columns then: [B, 1, H, W] -> the same."""
    rows = F.avg_pool2d(x, (side, 1), stride=1, padding=(side // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), stride=1, padding=(0, side // 2), count_include_pad=False)


def price(seen: Tensor) -> Tensor:
    """Weight of a squared error at each place [B, 1, H, W]: the plain one, and for the larger part as people see it.

    seen: `visible(x)`.
    """
    return 1 - VISIBLE + VISIBLE * seen
