"""Bjontegaard's measure: how much larger or smaller one codec's files are than another's at the same quality.

The figure itself comes from the package `bjontegaard` (PCHIP interpolation over log rate); here stands what it is
given: mean curves over pictures, and published ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from psic_cli import packages
from psic_cli.evaluation.metrics import Interval, interval, resampled_weights

Floats = npt.NDArray[np.float64]

RESAMPLES = 200  # an interpolation each: enough for the second digit of a percentage
KODAK_PICTURES = 24


@dataclass(frozen=True)
class Curve:
    """Points of a codec: bits per pixel and PSNR in dB, [points] for a mean curve, [pictures, points] for all."""

    bpp: Floats
    psnr: Floats

    def mean(self, weights: npt.NDArray[np.int64] | None = None) -> Curve:
        """The curve of the mean picture. weights: [pictures], how often each counts."""
        return Curve(np.average(self.bpp, 0, weights), np.average(self.psnr, 0, weights))


@dataclass(frozen=True)
class Published:
    """A curve from the literature, and where it was published."""

    name: str
    source: str
    curve: Curve


@dataclass(frozen=True)
class BdRate:
    """Mean difference of the rate in percent (negative: smaller files than the anchor) where both curves have points.

    low_db, high_db: that common range. share: the part of the measured curve's own range that lies in it.
    """

    anchor: str
    percent: Interval
    low_db: float
    high_db: float
    share: float


def published_curves() -> tuple[list[Published], str]:
    """What others reach on the 24 Kodak pictures, and the conditions under which it was measured."""
    data: dict[str, Any] = json.loads(resources.files(__package__).joinpath("anchors.json").read_text("utf-8"))
    curves = [
        Published(row["name"], row["source"], Curve(np.array(row["bpp"]), np.array(row["psnr"])))
        for row in data["curves"]
    ]
    return curves, str(data["conditions"])


def is_kodak(names: Sequence[str]) -> bool:
    """Whether these file names are the 24 Kodak pictures: published curves hold for no others."""
    stems = {name.rpartition("/")[2].partition(".")[0].lower() for name in names}
    return stems == {f"kodim{number:02d}" for number in range(1, KODAK_PICTURES + 1)}


def check_available() -> None:
    """UsageError if the package is missing: said before hours of work rather than after."""
    packages.need("bjontegaard", "a BD-rate", extra="evaluate")


def bd_rate(anchor: Curve, test: Curve) -> tuple[float, float, float] | None:
    """Percent by which `test` needs more rate than `anchor` over the PSNR range that both cover, and that range in dB.

    Mean curves only. None where the ranges do not overlap, or where a curve has fewer than two usable points.
    """
    import bjontegaard

    a, t = _rising(anchor), _rising(test)
    if len(a.psnr) < 2 or len(t.psnr) < 2:
        return None
    low, high = max(a.psnr[0], t.psnr[0]), min(a.psnr[-1], t.psnr[-1])
    if low >= high:
        return None
    percent = bjontegaard.bd_rate(
        a.bpp, a.psnr, t.bpp, t.psnr, method="pchip", require_matching_points=False, min_overlap=0
    )
    return float(percent), float(low), float(high)


def compare(name: str, anchor: Curve, test: Curve) -> BdRate | None:
    """`test` against `anchor` with an interval from resampled pictures; None where the ranges do not overlap.

    test: [pictures, points]. anchor: the same pictures, which are then resampled together, or a mean curve [points].
    """
    one = anchor if anchor.bpp.ndim == 1 else anchor.mean()
    result = bd_rate(one, test.mean())
    if result is None:
        return None
    percent, low, high = result
    samples = []
    for weights in resampled_weights(len(test.bpp), RESAMPLES):
        sample = bd_rate(anchor if anchor.bpp.ndim == 1 else anchor.mean(weights), test.mean(weights))
        if sample is not None:
            samples.append(sample[0])
    own = _rising(test.mean()).psnr
    share = (high - low) / float(own[-1] - own[0])
    return BdRate(name, interval(percent, samples or [percent]), low, high, share)


def _rising(curve: Curve) -> Curve:
    """The points sorted by rate, without those that cost more than another and are no better."""
    best, kept = -np.inf, []
    for point in np.argsort(curve.bpp, kind="stable"):
        if curve.psnr[point] > best:
            best = curve.psnr[point]
            kept.append(point)
    return Curve(curve.bpp[kept], curve.psnr[kept])


def curve_of(bpp: Sequence[Sequence[float]], psnr: Sequence[Sequence[float]]) -> Curve:
    """Lists [pictures][points] as a curve."""

    return Curve(np.array(bpp, np.float64), np.array(psnr, np.float64))
