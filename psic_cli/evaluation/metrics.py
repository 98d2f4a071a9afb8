"""What one picture lost, and how sure an average over pictures is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from psic_cli.picture import Pixels

PSNR_LIMIT = 100.0  # decibels, of equal pictures: so that an average stays a number
RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure measured over pictures and its bootstrap 95 % interval; of one picture the interval has no width."""

    value: float
    low: float
    high: float


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in decibels, from the squared error over all channels; at most 100.

    a, b: uint8 [H, W, 3].
    """
    error = a.astype(np.int32) - b.astype(np.int32)
    mean = float(np.mean(np.square(error), dtype=np.float64))
    return min(PSNR_LIMIT, 10 * math.log10(255**2 / mean)) if mean else PSNR_LIMIT


def resampled_weights(count: int, resamples: int = RESAMPLES) -> Iterator[npt.NDArray[np.int64]]:
    """How often each of `count` pictures is drawn in each bootstrap sample: [count] integers that sum to `count`.

    Always the same samples, so that two figures over the same pictures are resampled together.
    """
    generator = np.random.default_rng(0)
    for _ in range(resamples):
        yield np.bincount(generator.integers(count, size=count), minlength=count)


def interval(value: float, samples: Sequence[float]) -> Interval:
    """The middle 95 % of bootstrap samples around a value (percentile method)."""
    edge = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(samples, [edge, 100 - edge])
    return Interval(value, float(low), float(high))


def average(values: npt.ArrayLike) -> Interval:
    """The mean over pictures. values: at least one."""
    result = ratio(values, np.ones(np.size(values)))
    assert result is not None  # its denominator is never zero
    return result


def ratio(numerators: npt.ArrayLike, denominators: npt.ArrayLike) -> Interval | None:
    """Sum over sum, both [pictures]; None where the denominators are all zero.

    Accuracies, rates of attack success and shares of another accuracy are all of this form; resampling whole pictures
    keeps together what belongs to one.
    """
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if not below.sum():
        return None
    sums = [(float(w @ above), float(w @ below)) for w in resampled_weights(len(below))]
    return interval(float(above.sum() / below.sum()), [n / d for n, d in sums if d])
