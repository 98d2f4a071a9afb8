"""Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003), as pytorch-msssim and CompressAI compute it.

Own code for speed: packages take longer than the codec takes to decode. Sums of shifted pictures filter several times
as fast on a CPU as a convolution, and what depends on the original alone is computed once for all its versions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.picture import Pixels

SMALLEST_SIDE = 161  # pixels: five scales of an 11 x 11 window need that much

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_TAPS, _SIGMA = 11, 1.5
_LUMINANCE, _CONTRAST = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # C1 and C2 of the paper


@dataclass(frozen=True)
class _Scale:
    """One channel at one scale, [h, w]; its local mean and variance are 10 smaller."""

    plane: Tensor
    mean: Tensor
    variance: Tensor


def reference(rgb: Pixels) -> Reference | None:
    """A picture prepared for comparisons, [H, W, 3] uint8; None for one that is too small for MS-SSIM."""
    return Reference(rgb) if min(rgb.shape[:2]) >= SMALLEST_SIDE else None


class Reference:
    """An original, prepared for comparisons. rgb: uint8 [H, W, 3], shorter side 161 pixels or more."""

    @torch.inference_mode()
    def __init__(self, rgb: Pixels) -> None:
        if min(rgb.shape[:2]) < SMALLEST_SIDE:
            raise ValueError(f"MS-SSIM needs sides of {SMALLEST_SIDE} pixels or more, not {list(rgb.shape[:2])}")
        self._channels = [[_scale(plane) for plane in planes] for planes in _pyramids(rgb)]

    @torch.inference_mode()
    def similarity(self, rgb: Pixels) -> float:
        """Of another picture of the same shape, 0..1: the mean over the three channels."""
        values = []
        for scales, planes in zip(self._channels, _pyramids(rgb), strict=True):
            value = 1.0
            for scale, plane, weight in zip(scales, planes, _SCALE_WEIGHTS, strict=True):
                coarsest = scale is scales[-1]  # where luminance counts as well
                value *= max(0.0, _compare(scale, plane, coarsest)) ** weight
            values.append(value)
        return sum(values) / len(values)


def _compare(x: _Scale, plane: Tensor, luminance: bool) -> float:
    """Contrast and structure, times luminance where it counts: the mean over a plane."""
    mean = _blur(plane)
    covariance = _blur(x.plane * plane).addcmul_(x.mean, mean, value=-1)
    variances = _blur(plane * plane).addcmul_(mean, mean, value=-1).add_(x.variance)
    similar = covariance.mul_(2).add_(_CONTRAST).div_(variances.add_(_CONTRAST))
    if luminance:
        similar *= (2 * x.mean * mean + _LUMINANCE) / (x.mean * x.mean + mean * mean + _LUMINANCE)
    return float(similar.mean())


def _scale(plane: Tensor) -> _Scale:
    mean = _blur(plane)
    return _Scale(plane, mean, _blur(plane * plane).addcmul_(mean, mean, value=-1))


def _pyramids(rgb: Pixels) -> list[list[Tensor]]:
    """By channel, a plane for each scale, every one half of the one before."""
    channels = []
    for channel in np.moveaxis(rgb, 2, 0):
        planes = [torch.from_numpy(channel.astype(np.float32))]
        while len(planes) < len(_SCALE_WEIGHTS):
            last = planes[-1]
            planes.append(F.avg_pool2d(last[None], 2, padding=[side % 2 for side in last.shape])[0])
        channels.append(planes)
    return channels


def _window() -> list[float]:
    taps = np.exp(-((np.arange(_TAPS) - _TAPS // 2) ** 2) / (2 * _SIGMA**2))
    return list((taps / taps.sum()).tolist())


_WINDOW = _window()


def _blur(plane: Tensor) -> Tensor:
    """Gaussian mean over 11 x 11 pixels: [h, w] -> [h - 10, w - 10]."""
    for dimension in (0, 1):
        length = plane.shape[dimension] - _TAPS + 1
        total = plane.narrow(dimension, 0, length) * _WINDOW[0]
        for shift, weight in enumerate(_WINDOW[1:], 1):
            total.add_(plane.narrow(dimension, shift, length), alpha=weight)
        plane = total
    return plane
