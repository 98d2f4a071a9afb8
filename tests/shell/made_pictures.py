"""Small pictures in memory, and files made of them."""

import io
from typing import Any

import numpy as np
from PIL import Image

from psic_cli.icc import standard_srgb
from psic_cli.picture import Pixels

SRGB = standard_srgb()
GREY: Pixels = np.arange(0, 2 * 12 * 9, 2, dtype=np.uint8).reshape(12, 9)
RGB: Pixels = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif_with(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    return exif.tobytes()
