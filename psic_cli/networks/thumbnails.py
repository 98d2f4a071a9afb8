"""Large pictures are protected at the size at which models look at them: on thumbnails."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

THUMBNAIL = 320  # pixels: shorter side of the largest pictures whose shield is not drawn on a thumbnail


def is_large(short_side: int) -> bool:
    """Whether what protects a picture of that size, in pixels, is drawn on a thumbnail."""
    return short_side > THUMBNAIL


def thumbnail(x: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], clamped and shrunk until their shorter side is THUMBNAIL."""
    factor = THUMBNAIL / min(x.shape[-2:])
    height, width = (round(side * factor) for side in x.shape[-2:])
    small = F.interpolate(x.clamp(0, 1), (height, width), mode="bicubic", antialias=True, align_corners=False)
    return small.clamp(0, 1)


def enlarged(drawn: Tensor, height: int, width: int) -> Tensor:
    """What was drawn on a thumbnail, at the size of the picture: [B, 3, height, width]."""
    drawn = drawn.contiguous()  # torch takes twice as long with the channels last
    return F.interpolate(drawn, (height, width), mode="bicubic", align_corners=False)
