"""Pictures without labels: whether a model still gives a version the label that it gives the original.

This is how "large pictures are protected as well as small ones" is measured: the same pictures at several sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

from psic_cli.evaluation.metrics import Interval


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
