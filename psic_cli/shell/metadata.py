"""EXIF and XMP as bytes: the orientation tag is reset in place, so that everything else survives byte for byte.

Pillow rewrites the whole block instead, which drops thumbnails and breaks maker notes.
"""

import contextlib
import re
import struct
from collections.abc import Iterator

from PIL import ExifTags, Image

# JPEG and WebP put this before the TIFF structure; psic keeps the structure alone.
EXIF_PREFIX = b"Exif\x00\x00"

_ORIENTATION = 0x0112
_SHORT = 3

# Tags of a TIFF file that describe how its pixels are stored, which is not metadata once they have been read.
_LAYOUT_TAGS = frozenset(
    (
        254,
        255,
        256,
        257,
        258,
        259,
        262,
        263,
        264,
        265,
        266,
        273,
        277,
        278,
        279,
        280,
        281,
        284,
        290,
        291,
        292,
        293,
        297,
        301,
    )
) | frozenset(
    (317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 333, 338, 339, 340, 341, 347, 512, 513, 514, 515, 529, 530)
)
# XMP, Photoshop blocks and the ICC profile have places of their own.
_SEPARATE_TAGS = frozenset((700, 33723, 34377, 34675))

# Tags of EXIF that tell most of a person.
_TELLING = {
    "GPS position": {ExifTags.Base.GPSInfo},
    "camera": {ExifTags.Base.Make, ExifTags.Base.Model},
    "serial number": {ExifTags.Base.BodySerialNumber, ExifTags.Base.LensSerialNumber, ExifTags.Base.CameraSerialNumber},
    "name": {ExifTags.Base.Artist, ExifTags.Base.CameraOwnerName, ExifTags.Base.Copyright, ExifTags.Base.XPAuthor},
    "date": {ExifTags.Base.DateTime, ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized},
}


def upright_exif(exif: bytes) -> bytes:
    """The same TIFF structure with orientation 1 ("upright") in its first directory; unreadable bytes come back
    unchanged.
    """
    patched = bytearray(exif)
    order = {b"II": "<", b"MM": ">"}.get(bytes(exif[:2]))
    if order is None:
        return exif
    for entry in _entries(exif, order):
        tag, kind = struct.unpack_from(order + "HH", exif, entry)
        if tag == _ORIENTATION and kind == _SHORT:
            struct.pack_into(order + "H", patched, entry + 8, 1)
    return bytes(patched)


def upright_xmp(xmp: bytes) -> bytes:
    """The same XMP packet with `tiff:Orientation` 1, as attribute or as element."""
    xmp = re.sub(rb"""(tiff:Orientation\s*=\s*["'])[2-8](["'])""", rb"\g<1>1\g<2>", xmp)
    return re.sub(rb"(<tiff:Orientation>\s*)[2-8](\s*</tiff:Orientation>)", rb"\g<1>1\g<2>", xmp)


def raw_profile(text: object) -> bytes | None:
    """The bytes in a "Raw profile type" text of PNG, which older programs write: a name, a length, then hexadecimal."""
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None


def tiff_exif(image: Image.Image) -> bytes | None:
    """The descriptive tags of a TIFF file (camera, date, GPS) as an EXIF block; None if there are none."""
    exif = image.getexif()
    for tag in [tag for tag in exif if tag in _LAYOUT_TAGS or tag in _SEPARATE_TAGS]:
        del exif[tag]
    if not exif:
        return None
    return upright_exif(exif.tobytes().removeprefix(EXIF_PREFIX))


def kinds(exif: bytes | None, xmp: bytes | None) -> list[str]:
    """What metadata there is, in words for people: EXIF, and what in it tells most of a person; XMP."""
    found = []
    if exif:
        read = Image.Exif()
        tags: set[int] = set()
        with contextlib.suppress(Exception):  # Pillow raises nearly anything on damaged bytes
            read.load(exif)
            tags = {*read, *read.get_ifd(ExifTags.IFD.Exif)}
        found = ["EXIF", *(name for name, numbers in _TELLING.items() if tags & numbers)]
    return [*found, "XMP"] if xmp else found


def _entries(exif: bytes, order: str) -> Iterator[int]:
    """Positions of the entries of the first directory, as far as they lie inside the data."""
    try:
        mark, start = struct.unpack_from(order + "HI", exif, 2)
        (count,) = struct.unpack_from(order + "H", exif, start)
    except struct.error:
        return
    if mark != 42:
        return
    for index in range(count):
        entry = start + 2 + 12 * index
        if entry + 12 > len(exif):
            return
        yield entry
