"""The ICC profile as a .psic file carries it: compressed, and the standard sRGB profile as no bytes at all."""

from __future__ import annotations

import functools
import struct
import zlib

from psic_cli.bitstream.reader import Reader, pack_varint
from psic_cli.errors import FormatError

MAX_ICC_BYTES = 2**22  # profiles made of large tables have two million
_CREATED = slice(24, 36)  # place of the creation date in a profile


@functools.cache
def standard_srgb() -> bytes:
    """The sRGB profile of littleCMS, with a fixed date so that two runs give equal bytes."""
    from PIL import ImageCms  # psic info needs no Pillow

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_CREATED] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def icc_to_payload(icc: bytes) -> bytes:
    """A profile -> the payload of section ICC. ValueError for more than MAX_ICC_BYTES."""
    if icc == standard_srgb():
        return b""
    if len(icc) > MAX_ICC_BYTES:
        raise ValueError(f"a colour profile of {len(icc)} bytes is larger than {MAX_ICC_BYTES}")
    return pack_varint(len(icc)) + zlib.compress(icc, 9)


def icc_from_payload(payload: bytes) -> bytes:
    """The inverse. FormatError for other bytes; never takes more memory than the limit, whatever they claim."""
    if not payload:
        return standard_srgb()
    reader = Reader(payload)
    size = reader.varint()
    if not 1 <= size <= MAX_ICC_BYTES:
        raise FormatError(f"the file is damaged: its colour profile has {size} bytes, not 1 to {MAX_ICC_BYTES}")
    stream = zlib.decompressobj()
    try:
        icc = stream.decompress(reader.take(reader.left), size + 1)
    except zlib.error as error:
        raise FormatError("the file is damaged: its colour profile cannot be read") from error
    if len(icc) != size or not stream.eof or stream.unused_data:
        raise FormatError("the file is damaged: its colour profile has another size than it says")
    return icc
