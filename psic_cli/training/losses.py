"""Losses of the conditions: distortion as numbers and as people see it, and what models recognise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.backbone import STRIDE
from psic_cli.search.masking import price, visible
from psic_cli.vlp.interface import VisionLanguageModel

LEAST = 2e-6  # mean square of an error that nobody sees: 57 dB
GRID = 15.0  # weight of what repeats from cell to cell
AREA = 6  # cells


def decibels(mse: Tensor) -> Tensor:
    """Distortion in dB (minus PSNR, for values in 0..1): a step of 1 means the same at every quality level."""
    return 10.0 * torch.log10(mse + 1e-7)


def shown(x_hat: Tensor) -> Tensor:
    """What a model gets to see: clamped to 0..1 and rounded to 8 bits, with gradients as if nothing had been done.

    Plain clamping would leave no gradient exactly where a strong shield pushes hardest.
    """
    with torch.no_grad():
        seen = (x_hat.clamp(0, 1) * 255).round() / 255
    return x_hat + (seen - x_hat).detach()


def grid(error: Tensor, seen: Tensor) -> Tensor:
    """Mean square of what repeats in an error [B, 3, H, W] from one latent's cell to the next, where people see it:
    [B]. seen: `visible(x)`.

    A pattern that is the same all over an area is what misleads models most easily, and what people see first: texture
    that hides other errors hides it half as well (in decibels). It is looked for within AREA cells each way: the sign
    of one may change from here to there.
    """
    seen = seen.sqrt()
    weighted, weight = _area_means(seen * error), _area_means(seen)  # [B, C, 16 * 16, areas]
    pattern = weighted / (weight + LEAST)
    pattern = pattern - pattern.mean(2, keepdim=True)
    return (weight.mean(2, keepdim=True) * pattern.square()).mean((1, 2, 3))


def _area_means(x: Tensor) -> Tensor:
    """[B, C, H, W] -> means over the cells of areas that overlap, for each place in a cell: [B, C, 16 * 16, areas].

    What is left over at the right and at the bottom is left out.
    """
    height, width = x.shape[-2] // STRIDE, x.shape[-1] // STRIDE
    cells = F.pixel_unshuffle(x[..., : height * STRIDE, : width * STRIDE], STRIDE)
    area = F.avg_pool2d(cells, (min(AREA, height), min(AREA, width)), stride=AREA - 2)
    return area.flatten(2).unflatten(1, (x.shape[1], STRIDE**2))


def added_distortion(x_hat: Tensor, x_full: Tensor, x: Tensor) -> Tensor:
    """How much worse a version [B, 3, H, W] looks than the full one, as a share of amplitude: [B], 0 where both look
    alike, 0.19 for 1.5 dB.

    Squared errors weigh as people see them (search/masking.py), and what repeats from cell to cell has a weight of its
    own: CLTG's biases are constant over a picture, so that is what they draw. It is counted in the difference to the
    full version: what that version's own error repeats, such as the blocks of a picture that was a JPEG file, would
    hide as much.

    Not in decibels: they charge the first small difference to the full version most, so that versions never part, and a
    large error hardly more than a middling one, so that a pattern in a clear sky stays.
    """
    seen = visible(x)
    worse, full = ((price(seen) * (version - x).square()).mean((1, 2, 3)) for version in (x_hat, x_full))
    return ((worse + GRID * grid(x_hat - x_full, seen) + LEAST) / (full + LEAST)).sqrt() - 1


def recognition(vlps: Sequence[VisionLanguageModel], pictures: Tensor, originals: list[Tensor]) -> Tensor:
    """Cosine between what the models see and what they saw in the original, the mean over models: [B].

    originals: for each model the unit vectors [B, D] of the original pictures.
    """
    # In float32 under autocast too: bfloat16 knows only every 256th of a cosine near 1.
    cosines = [
        (vlp.encode_image(pictures).float() * own.float()).sum(1) for vlp, own in zip(vlps, originals, strict=True)
    ]
    return torch.stack(cosines).mean(0)
