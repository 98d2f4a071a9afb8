"""An analysis that knows that decoders cut off what is blacker than black and whiter than white.

Text and line art put thin black lines on pure white. 240 latents for 768 values draw such an edge only with ringing
around it, and the analysis, which asks for exactly white paper, gives up sharpness to avoid it: more bits do not help.
Yet a decoder clamps, so ringing beyond black or white costs nothing. Here the latents are moved until the *clamped*
picture is right, by what its own analysis lacks:

    y <- y + g_a(x) - g_a(clamp(g_s(y)))        with momentum, before y is rounded

On paper that is not white nothing is cut off; then the steps gain what the analysis is short of an inverse. All this is
an encoder's choice alone: the format, and what decodes it, stay as they are. Photographs are left alone, and keep their
bits and their time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.backbone import STRIDE, Backbone
from psic_cli.networks.strips import Rows, in_strips, strips

STEPS, MOMENTUM = 8, 0.5  # at the best quality; at lower ones rounding hides what the last of them gain
LEAST_SPAN = 0.25  # of a cell's values: what has less contrast tells nothing
LEAST_FLAT = 0.5  # share of a cell's values that are its paper or its ink, for it to be line art
LEAST_LINE_ART = (
    0.5  # share of a picture's cells with contrast. 318 photographs have 0.18 at most, drawings 0.77 or more
)
LEAST_STEP = 0.5 / 255  # less is the same colour


def analyse(network: Backbone[Any], x: Rows, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One picture [1, 3, H, W] in 0..1, sides multiples of 64, and its level [1] -> y to be coded, y as the network
    analyses it, which is the same tensor where nothing moved, and z.
    """
    quality = network.quality(level)
    wanted, z = network.analyse(x, quality)
    cells = line_art(x)
    if cells is None:
        return wanted, wanted, z
    moving = F.max_pool2d(cells, 3, stride=1, padding=1)  # ringing reaches into the cells around
    condition = network.condition(0.0, 0.0, min(x.shape[2:]), level)
    y = best = wanted
    move, least = torch.zeros_like(y), float("inf")
    for _ in range(max(2, round(STEPS * quality.item()))):
        y_hat = network.unscale(network.scale(y, level), level)
        seen = network.synthesise(y_hat, condition).float().clamp_(0, 1)
        error = _square_error(seen, x)
        if error >= least:
            break
        best, least = y, error
        move = MOMENTUM * move + moving * (wanted - network.analyse(seen, quality)[0])
        y = y + move
    else:
        best = y
    return best, wanted, network.side_information(best, quality)


def _square_error(seen: Tensor, x: Rows) -> float:
    """Mean, over all pixels."""
    places = [(slice(None), slice(None), strip.own(STRIDE)) for strip in strips(*(n // STRIDE for n in x.shape[2:]))]
    return sum(F.mse_loss(seen[where], x[where], reduction="sum").item() for where in places) / seen.numel()


def line_art(x: Rows) -> Tensor | None:
    """A picture [1, 3, H, W] in 0..1 -> 1.0 for each cell of line art, else 0.0: [1, 1, H/16, W/16]. None for a picture
    that is something else.

    In a cell of line art most values are the largest or the least, exactly: paper and ink, of whatever colours.
    """
    kinds = in_strips(_kinds, x, row_unit=STRIDE, cell_columns=x.shape[3] // STRIDE)
    contrasted, cells = kinds.chunk(2, dim=1)
    found = cells.sum().item()
    return cells if found and found >= LEAST_LINE_ART * contrasted.sum().item() else None


def _kinds(x: Tensor) -> Tensor:
    """1.0 for each cell with contrast, and for each one of line art: [1, 2, H/16, W/16]."""
    cells = x.unflatten(3, (-1, STRIDE)).unflatten(2, (-1, STRIDE))  # [1, 3, H/16, 16, W/16, 16]
    largest, least = (pick(pick(cells, 3, keepdim=True), 5, keepdim=True) for pick in (torch.amax, torch.amin))
    contrasted = (largest - least).amax(1).ge(LEAST_SPAN)[:, None, :, 0, :, 0]
    extreme = (cells < least + LEAST_STEP) | (cells > largest - LEAST_STEP)
    flat = extreme.reshape(x.shape).float().mean(1, keepdim=True)
    return torch.cat([contrasted, (F.avg_pool2d(flat, STRIDE) >= LEAST_FLAT) & contrasted], dim=1).float()
