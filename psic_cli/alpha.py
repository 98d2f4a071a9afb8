"""Transparency: the alpha plane as a lossless PNG of mode L, which is how a .psic file carries it, and the colours that
it hides.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from psic_cli.errors import FormatError
from psic_cli.picture import Pixels

# Side of the squares that hidden colours are made in. Filling pixel by pixel (1) makes files 0.5 % smaller and takes
# sixteen times the memory, 8 makes them 2 % larger (a picture with a ragged edge).
_CELL = 4


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


def without_hidden(rgb: Pixels, alpha: Pixels) -> Pixels:
    """The colours [H, W, 3] with those under alpha 0 replaced by what is visible around them, smoothly.

    Nothing is left of what was there, and there is no step at the visible edge that would cost bits or shine through
    when the picture is resized. A picture in which nothing is visible becomes black.
    """
    hidden = alpha == 0
    if not hidden.any():
        return rgb
    height, width = alpha.shape
    size = -(-height // _CELL), -(-width // _CELL)
    sums, counts = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    for row in range(size[0]):  # a strip at a time bounds the memory
        strip = slice(row * _CELL, (row + 1) * _CELL)
        visible = ~hidden[strip, :, None]
        starts = np.arange(0, width, _CELL)
        sums[row] = np.add.reduceat((rgb[strip] * visible).sum(axis=0, dtype=np.float32), starts, axis=0)
        counts[row] = np.add.reduceat(visible.sum(axis=0, dtype=np.float32), starts, axis=0)[:, 0]
    cells = Image.fromarray(np.rint(_spread(sums, counts)).astype(np.uint8))
    filling = np.asarray(cells.resize((size[1] * _CELL, size[0] * _CELL), Image.Resampling.BILINEAR))
    return np.where(hidden[..., None], filling[:height, :width], rgb)


def _spread(sums: npt.NDArray[np.float32], counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means [H, W, 3] of sums [H, W, 3] over counts [H, W]; where there is no count, those at half the size."""
    means = np.divide(sums, np.maximum(counts, 1)[..., None])
    known = counts > 0
    if known.all() or means.shape[:2] == (1, 1):
        return means
    (height, width), pad = counts.shape, [(0, side % 2) for side in counts.shape]
    coarse_sums = _halved(np.pad(means * known[..., None], [*pad, (0, 0)]))
    coarse = _spread(coarse_sums, _halved(np.pad(known.astype(np.float32), pad)))
    size = 2 * coarse.shape[1], 2 * coarse.shape[0]
    planes = [Image.fromarray(coarse[..., i]).resize(size, Image.Resampling.BILINEAR) for i in range(3)]
    finer = np.stack([np.asarray(plane) for plane in planes], axis=2)[:height, :width]
    return np.where(known[..., None], means, finer)


def _halved(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sums over squares of 2 x 2."""
    return x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]
