"""Losses of the protection stage: distortion as numbers and as people see it, and what models recognise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.vlp.interface import VisionLanguageModel


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


def visibility(difference: Tensor, x: Tensor) -> Tensor:
    """Mean square of a difference [B, 3, H, W] to the picture x, weighted by how well people see it there: [B].

    Texture masks, a clear sky shows everything: the weight falls from 1 where x is flat to a half where its brightness
    has a standard deviation of 8 levels within 9x9 pixels.
    """
    brightness = x.mean(1, keepdim=True)
    mean = F.avg_pool2d(brightness, 9, stride=1, padding=4, count_include_pad=False)
    square = F.avg_pool2d(brightness.square(), 9, stride=1, padding=4, count_include_pad=False)
    variance = (square - mean.square()).clamp_min(0)
    masking = (8 / 255) ** 2
    return (masking / (masking + variance) * difference.square()).mean((1, 2, 3))


def recognition(vlps: Sequence[VisionLanguageModel], pictures: Tensor, originals: list[Tensor]) -> Tensor:
    """Cosine between what the models see and what they saw in the original, the mean over models: [B], to be minimised.

    originals: for each model the unit vectors [B, D] of the original pictures.
    """
    # In float32 under autocast too: bfloat16 knows only every 256th of a cosine near 1.
    cosines = [
        (vlp.encode_image(pictures).float() * own.float()).sum(1) for vlp, own in zip(vlps, originals, strict=True)
    ]
    return torch.stack(cosines).mean(0)
