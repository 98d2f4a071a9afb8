"""Pictures to time codecs on: of any size, with the content of a photograph."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from psic_cli.picture import Pixels

SAMPLE = "coffee.png"  # 600 x 400, CC0; see sample_images/README.md
ENLARGED = 2  # times: a large photo is smoother, pixel by pixel, than a small one
GRAIN = 2  # levels up and down: sensors have it, enlarged pictures have lost it
ASPECT = 3 / 2


def sample_photo() -> Path:
    """Where the sample photo lies: in the installed package, or in the checkout."""
    package = Path(__file__).parents[1]
    inside = package / "sample_images" / SAMPLE
    return inside if inside.is_file() else package.parent / "sample_images" / SAMPLE


def made_picture(megapixels: float) -> Pixels:
    """[H, W, 3] uint8 of about that many million pixels, 3:2; the same on every machine but for rounding.

    The sample photo, enlarged twice and with some grain, is laid out in tiles, every second one mirrored so that there
    are no edges between them. Sides are what they come to, and rarely multiples of what a codec pads to.
    """
    width = max(1, round(math.sqrt(megapixels * 1e6 * ASPECT)))
    height = max(1, round(width / ASPECT))
    with Image.open(sample_photo()) as photo:
        size = (photo.width * ENLARGED, photo.height * ENLARGED)
        tile = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    pair = np.concatenate([tile, tile[:, ::-1]], axis=1)
    block = np.concatenate([pair, pair[::-1]])
    rows, columns = np.arange(height) % len(block), np.arange(width) % block.shape[1]
    grain = np.random.default_rng(0).integers(-GRAIN, GRAIN, (height, width, 1), np.int16, endpoint=True)
    return np.clip(block[rows][:, columns] + grain, 0, 255).astype(np.uint8)


def central_part(rgb: Pixels, pixels: float) -> Pixels:
    """The middle of [H, W, 3] with about `pixels` pixels and the shape of the whole; the picture itself if it is
    smaller.
    """
    share = min(1.0, math.sqrt(pixels / (rgb.shape[0] * rgb.shape[1])))
    height, width = (max(1, round(side * share)) for side in rgb.shape[:2])
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return np.ascontiguousarray(rgb[top : top + height, left : left + width])
