"""Rate and quality: bytes of real files against what their decodes lost. Start with `measure` and `summarise`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from psic_cli import zoo
from psic_cli.codec import Version
from psic_cli.evaluation.coding import code
from psic_cli.evaluation.metrics import Interval, average, ms_ssim, psnr
from psic_cli.picture import Pixels

VERSIONS = (Version.FULL, Version.PROTECTED)


@dataclass(frozen=True)
class Measured:
    """One picture in one quality. psnr (dB) and ms_ssim (0..1, None for small pictures): by version."""

    picture: str
    quality: int
    bpp: float
    psnr: dict[str, float]
    ms_ssim: dict[str, float | None]
    encode_seconds: float
    decode_seconds: float  # of the full version


@dataclass(frozen=True)
class Summary:
    """All pictures in one quality: means with their intervals, medians of the seconds.

    ms_ssim: over the pictures that are large enough, None if none is.
    """

    quality: int
    pictures: int
    bpp: Interval
    psnr: dict[str, Interval]
    ms_ssim: dict[str, Interval | None]
    encode_seconds: float
    decode_seconds: float


def measure(name: str, rgb: Pixels, model: zoo.Model, qualities: Sequence[int]) -> list[Measured]:
    """One picture in every quality. rgb: [H, W, 3] uint8."""
    rows = []
    for quality in qualities:
        coded = code(rgb, model, quality, VERSIONS)
        rows.append(
            Measured(
                picture=name,
                quality=quality,
                bpp=coded.bpp,
                psnr={version.value: psnr(rgb, decoded) for version, decoded in coded.pictures.items()},
                ms_ssim={version.value: ms_ssim(rgb, decoded) for version, decoded in coded.pictures.items()},
                encode_seconds=coded.encode_seconds,
                decode_seconds=coded.decode_seconds[Version.FULL],
            )
        )
    return rows


def summarise(rows: Sequence[Measured]) -> list[Summary]:
    """One summary for each quality, ascending."""
    summaries = []
    for quality in sorted({row.quality for row in rows}):
        of_quality = [row for row in rows if row.quality == quality]
        similar = {v.value: [row.ms_ssim[v.value] for row in of_quality] for v in VERSIONS}
        known = {name: [value for value in values if value is not None] for name, values in similar.items()}
        summaries.append(
            Summary(
                quality=quality,
                pictures=len(of_quality),
                bpp=average([row.bpp for row in of_quality]),
                psnr={v.value: average([row.psnr[v.value] for row in of_quality]) for v in VERSIONS},
                ms_ssim={name: average(values) if values else None for name, values in known.items()},
                encode_seconds=statistics.median(row.encode_seconds for row in of_quality),
                decode_seconds=statistics.median(row.decode_seconds for row in of_quality),
            )
        )
    return summaries
