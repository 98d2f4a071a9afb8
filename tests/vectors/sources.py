"""What the frozen files are made of: pictures, keys, metadata. No format and no network here."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from psic_cli.icc import standard_srgb
from psic_cli.picture import Picture

HERE = Path(__file__).parent
SAMPLES = HERE.parent.parent / "sample_images"
OWNER, STRANGER = bytes(range(32)), bytes(range(1, 33))
EXIF = b"II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"  # a TIFF structure with an empty directory
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
ICC = b"not a real profile: a reader hands it on as it is"


def sample(name: str, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """A sample picture, or a part of it (left, top, right, bottom): uint8 [H, W, 3]."""
    with Image.open(SAMPLES / name) as image:
        return np.array(image.convert("RGB").crop(box) if box else image.convert("RGB"))


def ramp(height: int, width: int) -> np.ndarray:
    """An alpha plane with every kind of value: uint8 [H, W]."""
    return (np.add.outer(np.arange(height) * 7, np.arange(width) * 3) % 256).astype(np.uint8)


def squares(side: int, cells: int) -> np.ndarray:
    """Full-contrast coloured squares, drawn by a fixed rule: uint8 [cells * side, cells * side, 3]."""
    generator = random.Random(0)
    small = [[[generator.choice((0, 255)) for _ in range(3)] for _ in range(cells)] for _ in range(cells)]
    return np.array(small, dtype=np.uint8).repeat(side, axis=0).repeat(side, axis=1)


@dataclass(frozen=True)
class Source:
    """One good file: what is encoded and how, `sealed` with the owner's key."""

    about: str
    picture: Picture
    quality: int = 50
    strength: int = 100
    sealed: bool = True


FACE = sample("cat.png", (110, 80, 206, 152))
SOURCES = {
    "sealed": Source("the ordinary case", Picture(FACE)),
    "open": Source("nothing is sealed", Picture(FACE[:48, :64]), sealed=False),
    "lowest-quality": Source("the first gain level", Picture(FACE[:48, :48]), quality=1),
    "highest-quality": Source("the last gain level", Picture(FACE[:48, :48]), quality=100),
    "no-shield": Source("strength 0: no moves", Picture(FACE[:32, :48]), strength=0),
    "half-shield": Source("strength 50", Picture(FACE[:32, :48]), strength=50),
    "one-pixel": Source("one cell of z, padded from 1 x 1", Picture(sample("one_pixel.png"))),
    "odd-size": Source("37 x 53, sides that no power of two divides", Picture(sample("odd_size.png"))),
    "several-cells": Source("3 x 2 cells of z", Picture(sample("coffee.png", (200, 120, 330, 190))), quality=70),
    "one-row": Source("130 x 1", Picture(sample("cat.png", (40, 150, 170, 151))), quality=30),
    "grey": Source("one colour channel", Picture(np.repeat(FACE[:40, :48, 1:2], 3, axis=2), grey=True)),
    "alpha": Source("transparency, lossless", Picture(FACE[:41, :50], alpha=ramp(41, 50))),
    "metadata-sealed": Source("EXIF and XMP inside the seal", Picture(FACE[:16, :16], None, False, ICC, EXIF, XMP)),
    "metadata-open": Source(
        "all sections of an open file",
        Picture(np.repeat(FACE[:16, :20, :1], 3, axis=2), ramp(16, 20), True, ICC, EXIF, XMP),
        sealed=False,
    ),
    "srgb-profile": Source(
        "the standard sRGB profile, which costs no bytes", Picture(FACE[:16, :16], icc=standard_srgb())
    ),
    "escapes": Source("dozens of latents outside their tables", Picture(squares(8, 8)), quality=100),
}
