"""Open .psic files with Pillow: `Image.open("photo.psic")` gives the protected picture, which needs no key.

    from PIL import Image
    from psic_cli import pillow_plugin  # registers itself

    picture = Image.open("photo.psic")

Header and size are read at once, the network runs when pixels are first asked for. The full and the machine version
need the
key: use `psic_cli.codec.decode`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageFile

from psic_cli.bitstream.container import MAGIC, Section, unpack
from psic_cli.errors import FormatError, PsicError
from psic_cli.icc import icc_from_payload

FORMAT = "PSIC"
_SUFFIX = ".psic"


class PsicImageFile(ImageFile.ImageFile):
    """A .psic file as Pillow sees it: mode L, LA, RGB or RGBA, and `icc_profile` in `info`.

    It has no EXIF and no XMP, not even of an open file: the protected version carries them only if asked.
    """

    format = FORMAT
    format_description = "psic, protected version"
    _data: bytes | None = None  # the file, until it is decoded; Pillow makes copies and pickles of pixels alone

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read()
        try:
            container = unpack(self._data)
            icc = container.sections.get(Section.ICC)
            self.info |= {} if icc is None else {"icc_profile": icc_from_payload(icc)}
        except FormatError as error:
            # Pillow goes on with other formats only after a SyntaxError, but nothing else starts with our magic.
            raise OSError(str(error)) from error
        header = container.header
        self._size = (header.width, header.height)
        self._mode = ("L" if header.grey else "RGB") + ("A" if Section.ALPHA in container.sections else "")
        self.info |= {"psic_quality": header.quality, "psic_model": header.model, "psic_sealed": header.sealed}

    def load(self) -> Any:
        """Decode the protected version when pixels are first needed. `OSError` if file or model do not allow it."""
        if self._data is not None:
            # torch takes seconds to import, and a look at the size should not
            from psic_cli import codec

            try:
                picture = codec.decode(self._data, max_pixels=self.width * self.height)
            except PsicError as error:
                raise OSError(str(error)) from error
            colour = picture.rgb[..., :1] if picture.grey else picture.rgb
            if picture.alpha is not None:
                colour = np.concatenate([colour, picture.alpha[..., None]], axis=2)
            # Image.fromarray understands [H, W] and [H, W, 2 | 3 | 4].
            self.im = Image.fromarray(np.ascontiguousarray(colour[..., 0] if colour.shape[2] == 1 else colour)).im
            self._data = None
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = None
        return super().load()


def register() -> None:
    """Make Pillow know .psic files; importing this module does it. Doing it again changes nothing."""
    Image.register_open(FORMAT, PsicImageFile, lambda prefix: prefix.startswith(MAGIC))
    Image.register_extension(FORMAT, _SUFFIX)
    Image.register_mime(FORMAT, "image/x-psic")


register()
