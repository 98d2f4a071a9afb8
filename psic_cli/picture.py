"""A picture between the file formats and the codec: plain arrays and the metadata that travels along.

Needs numpy alone: no torch, no Pillow, so that everything may import it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Picture:
    """Upright 8-bit pixels and their metadata.

    rgb: [H, W, 3] uint8, not premultiplied; the channels are equal where `grey` is set by a reader.
    alpha: [H, W] uint8, 255 = opaque; None for a picture without transparency.
    grey: the source had one colour channel, so writers give one back (L or LA).
    icc: profile of `rgb`; None means sRGB.
    exif: a TIFF structure (it starts with "II" or "MM", without the "Exif" prefix of JPEG); its orientation tag is 1 or
    absent.
    xmp: the XML packet as UTF-8; its orientation is 1 or absent.

    Raises ValueError for arrays of another shape or type, and for an empty picture.
    """

    rgb: Pixels
    alpha: Pixels | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise ValueError(f"rgb must be uint8 [H, W, 3], not {self.rgb.dtype} {list(self.rgb.shape)}")
        if self.rgb.size == 0:
            raise ValueError("a picture has at least one pixel")
        if self.alpha is not None and (self.alpha.dtype != np.uint8 or self.alpha.shape != self.rgb.shape[:2]):
            raise ValueError(
                f"alpha must be uint8 {list(self.rgb.shape[:2])}, not {self.alpha.dtype} {list(self.alpha.shape)}"
            )

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.rgb.shape[0])

    @property
    def pixels(self) -> int:
        """Columns times rows: what rates in bits per pixel are divided by."""
        return self.width * self.height
