"""Rate and quality: bytes of real files against what their decodes lost. Start with `measure` and `summarise`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from psic_cli import zoo
from psic_cli.codec import Version
from psic_cli.evaluation import ms_ssim
from psic_cli.evaluation.cache import Cache, Entry, picture_hash
from psic_cli.evaluation.coding import USUAL, Coded, Making, code, coding_key
from psic_cli.evaluation.metrics import Interval, average, psnr
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


def measure(
    name: str,
    rgb: Pixels,
    model: zoo.Model,
    qualities: Sequence[int],
    cache: Cache | None = None,
    making: Making = USUAL,
) -> list[Measured]:
    """One picture in every quality, those left out that the cache knows. rgb: [H, W, 3] uint8. making: of the files."""
    kept = cache or Cache()
    picture = picture_hash(rgb)
    rows, reference = [], None
    for quality in qualities:
        key = {"what": "rate", "picture": picture, "quality": quality, **coding_key(model, making)}
        entry = kept.read(key)
        if entry is None:
            reference = reference or _Reference(rgb)
            entry = Entry(reference.compare(code(rgb, model, quality, VERSIONS, making)))
            kept.write(key, entry)
        rows.append(Measured(picture=name, quality=quality, **entry.figures))
    return rows


class _Reference:
    """An original and what all its versions are compared with."""

    def __init__(self, rgb: Pixels) -> None:
        self.rgb = rgb
        self.structure = ms_ssim.reference(rgb)

    def compare(self, coded: Coded) -> dict[str, object]:
        """The figures of `Measured`."""
        similar = None if self.structure is None else self.structure.similarity
        return {
            "bpp": coded.bpp,
            "psnr": {version.value: psnr(self.rgb, decoded) for version, decoded in coded.pictures.items()},
            "ms_ssim": {v.value: similar(decoded) if similar else None for v, decoded in coded.pictures.items()},
            "encode_seconds": coded.encode_seconds,
            "decode_seconds": coded.decode_seconds[Version.FULL],
        }


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
