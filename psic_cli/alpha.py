"""The alpha plane as a lossless PNG of mode L, which is how a .psic file carries it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from psic_cli.errors import FormatError
from psic_cli.picture import Pixels


def alpha_to_png(alpha: Pixels) -> bytes:
    """uint8 [H, W] -> PNG."""
    stream = io.BytesIO()
    Image.fromarray(alpha).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def alpha_from_png(data: bytes, width: int, height: int) -> Pixels:
    """PNG -> uint8 [height, width]. FormatError if it is no PNG of mode L and of that size (looked at before it is
    unpacked).
    """
    try:
        # Not Image.open, whose own limit on pixels is below ours: this size has been held against the decoder's limit.
        with PngImageFile(io.BytesIO(data)) as image:
            if image.mode != "L" or image.size != (width, height):
                raise FormatError("the file is damaged: its alpha plane does not fit the picture")
            return np.array(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise FormatError("the file is damaged: its alpha plane cannot be read") from error
