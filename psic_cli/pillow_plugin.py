"""Open and save .psic files with Pillow: what is opened is the protected picture, which needs no key.

    from PIL import Image
    from psic_cli import pillow_plugin  # registers itself

    picture = Image.open("photo.psic")
    Image.open("photo.jpg").save("photo.psic", quality=60, key="shared.key")

When a file is opened, header and size are read at once; the network runs when pixels are first asked for. The full and
the machine version need the key: use `psic_cli.codec.decode`. Start with `PsicImageFile` and `save`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile

from psic_cli import keys
from psic_cli.bitstream.container import MAGIC, Section, unpack
from psic_cli.errors import FormatError, PsicError
from psic_cli.icc import icc_from_payload
from psic_cli.search.effort import DEFAULT_EFFORT, MOST_EFFORT

if TYPE_CHECKING:
    from psic_cli.picture import Picture

FORMAT = "PSIC"
_SUFFIX = ".psic"
_PARAMETERS = ("quality", "key", "open", "strength", "effort", "model", "strip", "keep_hidden")


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


def save(image: Image.Image, stream: IO[bytes], filename: str | bytes = "") -> None:
    """What `Image.save("photo.psic", ...)` does: the current frame, in any mode, as `psic encode` takes a picture.

    Alpha and the ICC profile are kept and public; EXIF and XMP are kept and sealed. Parameters of `Image.save`:
    key: what the file is sealed with, the path of a key file or its 32 bytes. open=True: seal nothing instead, anybody
    may decode in full and read the metadata. One of the two has to be named: no file is open, and no key made or found,
    without a word.
    quality: 1..100, 50 unless given. strength: 0..1, effort: 0..9, model, strip=True, keep_hidden=True: as the options
    of `psic encode`.

    ValueError for parameters that are unknown or out of range, OSError for a key or a model that cannot be used. By
    then Pillow has emptied a file that it was to replace.
    """
    parameters: Mapping[str, Any] = image.encoderinfo  # type: ignore[attr-defined]  # while Pillow saves
    unknown = [name for name in parameters if name not in _PARAMETERS]
    if unknown:  # Pillow's own writers pass over it; here a typing error could leave out protection
        raise ValueError(f"{unknown[0]} is no parameter of .psic files, which are {', '.join(_PARAMETERS)}")
    strength = parameters.get("strength", 1.0)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength} is not between 0 and 1")
    effort = parameters.get("effort", DEFAULT_EFFORT)
    if effort not in range(MOST_EFFORT + 1):
        raise ValueError(f"effort {effort!r} is not a whole number from 0 to {MOST_EFFORT}")
    try:
        secret = _secret(parameters.get("key"), parameters.get("open", False))
        picture = _picture(image, parameters.get("strip", False))

        from psic_cli import codec, zoo

        data = codec.encode(
            picture,
            secret,
            model=zoo.load(parameters.get("model", zoo.DEFAULT_MODEL), device="cpu"),
            quality=parameters.get("quality", 50),
            strength=round(100 * strength),
            effort=effort,
            keep_hidden=parameters.get("keep_hidden", False),
        )
    except PsicError as error:
        raise OSError(str(error)) from error
    stream.write(data)


def _secret(key: str | bytes | os.PathLike[str] | None, is_open: bool) -> bytes | None:
    """The 32 bytes to seal with; None for an open file."""
    if (key is None) != is_open:
        raise ValueError(
            "a .psic file is saved with key=, the path of a key file to seal it with, or with open=True for everybody"
        )
    if isinstance(key, bytes) and len(key) != keys.SECRET_BYTES:
        raise ValueError(f"a key has {keys.SECRET_BYTES} bytes, not {len(key)}; a path is a str")
    return key if key is None or isinstance(key, bytes) else keys.read_key_file(Path(key))


def _picture(image: Image.Image, strip: bool) -> Picture:
    from psic_cli.shell.pictures import picture_of

    return picture_of(image, strip=strip, warn=lambda text: warnings.warn(text, stacklevel=2))


def register() -> None:
    """Make Pillow know .psic files; importing this module does it. Doing it again changes nothing."""
    Image.register_open(FORMAT, PsicImageFile, lambda prefix: prefix.startswith(MAGIC))
    Image.register_save(FORMAT, save)
    Image.register_extension(FORMAT, _SUFFIX)
    Image.register_mime(FORMAT, "image/x-psic")


register()
