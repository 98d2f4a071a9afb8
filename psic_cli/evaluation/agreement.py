"""Pictures without labels: whether a model still gives a version the label that it gives the original.

This is how "large pictures are protected as well as small ones" is measured: the same pictures at several sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from psic_cli.errors import UsageError
from psic_cli.evaluation.metrics import Interval, average
from psic_cli.evaluation.seeing import KEYLESS, UNTOUCHED, VERSIONS, Shown, Views, keyless
from psic_cli.picture import Pixels

FULL_SIZE = "full"
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Agreement:
    """One model, one size, one version, one quality.

    side: shorter side in pixels to which the pictures were shrunk before everything else, None for full size; a picture
    that is smaller is left out. agreement: share of pictures whose first label is the one that the original of that
    size gets. bpp: of the files.
    """

    model: str
    side: int | None
    version: str
    quality: int
    pictures: int
    bpp: Interval
    agreement: Interval


def read_sides(text: str) -> list[int | None]:
    """ "256,full" as numbers of pixels, ascending, and None for full size, last. UsageError for anything else."""
    words = {word.strip() for word in text.split(",")}
    try:
        numbers = sorted(int(word) for word in words - {FULL_SIZE})
    except ValueError:
        raise UsageError(f"--sides {text!r} is not a list of pixels", "for example --sides 256,1280,full") from None
    if numbers and numbers[0] < SMALLEST_SIDE:
        raise UsageError(f"--sides {text} has a side below {SMALLEST_SIDE} pixels")
    return [*numbers, *([None] if FULL_SIZE in words else [])]


def shrink(rgb: Pixels, side: int | None) -> Pixels | None:
    """A picture with that shorter side in pixels, its shape kept (None: as it is); None if it is smaller already.

    rgb: [H, W, 3] uint8.
    """
    height, width = rgb.shape[:2]
    if side is None or min(height, width) == side:
        return rgb
    if min(height, width) < side:
        return None
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


def agree(views: Views, model: str, classes: Tensor, side: int | None, qualities: Sequence[int]) -> list[Agreement]:
    """All versions in all qualities, of pictures of one size. classes: [C, D]."""
    original = (views.embeddings(model, UNTOUCHED) @ classes.T).argmax(1)
    rows = []
    for quality in qualities:
        bpp = average([view.bpp[quality] for view in views.views])

        def row(version: str, shown: Shown, quality: int = quality, bpp: Interval = bpp) -> Agreement:
            label = (views.embeddings(model, shown) @ classes.T).argmax(1)
            same = average((label == original).tolist())
            return Agreement(model, side, version, quality, len(label), bpp, same)

        rows += [row(version.value, Shown(version.value, quality)) for version in VERSIONS]
        rows.append(max((row(KEYLESS, s) for s in keyless(quality)), key=lambda found: found.agreement.value))
    return rows
