"""Pictures for a page: a few of those that were measured, in the versions that people want to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from psic_cli import zoo
from psic_cli.codec import Version
from psic_cli.evaluation.coding import USUAL, Making, code
from psic_cli.evaluation.metrics import psnr
from psic_cli.evaluation.sources import read_rgb
from psic_cli.pages.base import data_uri

ORIGINAL = "original"
VERSIONS = (Version.FULL, Version.PROTECTED)

T = TypeVar("T")


@dataclass(frozen=True)
class ShownPicture:
    """A picture of a page. width, height: in pixels, before it was shrunk for the page. versions: data URIs by version,
    the original first. psnr: dB, by version, without the original.
    """

    name: str
    width: int
    height: int
    quality: int
    bpp: float
    versions: Mapping[str, str]
    psnr: Mapping[str, float]


def choose(pictures: Sequence[T], count: int) -> list[T]:
    """`count` of many, from all over the list; all of them if there are fewer."""
    if len(pictures) <= count:
        return list(pictures)
    return [pictures[number * len(pictures) // count] for number in range(count)]


def show(path: Path, name: str, model: zoo.Model, quality: int, making: Making = USUAL) -> ShownPicture:
    """Code one picture and keep what a page needs of it. InputError if it cannot be read."""
    rgb = read_rgb(path)
    coded = code(rgb, model, quality, VERSIONS, making)
    return ShownPicture(
        name=name,
        width=rgb.shape[1],
        height=rgb.shape[0],
        quality=quality,
        bpp=coded.bpp,
        versions={ORIGINAL: data_uri(rgb)} | {v.value: data_uri(coded.pictures[v]) for v in VERSIONS},
        psnr={version.value: psnr(rgb, coded.pictures[version]) for version in VERSIONS},
    )
