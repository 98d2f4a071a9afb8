"""What Pillow's plug-in for JPEG XL does not tell: the size before it decodes, the orientation, and the XMP.

A file is the bare codestream, or boxes (ISO 14496-12) of which `jxlc` or several `jxlp` hold it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"

# Width to height, by the number in the header.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_HEADER_BYTES = 32  # more than size and orientation can take


@dataclass(frozen=True)
class Header:
    """width, height: as coded; a reader turns the picture by `orientation` (1 to 8, as in EXIF) without being asked."""

    width: int
    height: int
    orientation: int


def read_header(data: bytes) -> Header:
    """The size and the orientation of a file (ISO 18181-1, B.2 and D.3). Cut headers read as zeros."""
    bits = _Bits(_codestream(data)[len(CODESTREAM) :][:_HEADER_BYTES])
    small = bits.take(1)
    height = bits.side(small)
    ratio = bits.take(3)
    width = bits.side(small) if ratio == 0 else height * _RATIOS[ratio][0] // _RATIOS[ratio][1]
    all_default = bits.take(1)
    has_extra_fields = not all_default and bits.take(1)
    return Header(width, height, bits.take(3) + 1 if has_extra_fields else 1)


def read_xmp(data: bytes) -> bytes | None:
    """The XMP packet of a file; None without one, and for a compressed one."""
    return next((content for kind, content in _boxes(data) if kind == b"xml "), None)


def has_compressed_metadata(data: bytes) -> bool:
    """Whether EXIF or XMP are packed by Brotli, where neither we nor the plug-in look."""
    return any(kind == b"brob" and content[:4] in (b"Exif", b"xml ") for kind, content in _boxes(data))


class _Bits:
    """Bits from the lowest of the first byte on."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value

    def side(self, small: int) -> int:
        """Pixels of a side: multiples of 8 up to 256, or any number in 9, 13, 18 or 30 bits."""
        return 8 * (self.take(5) + 1) if small else self.take((9, 13, 18, 30)[self.take(2)]) + 1


def _codestream(data: bytes) -> bytes:
    """The codestream, or the beginning of it that is in the first boxes."""
    if data.startswith(CODESTREAM):
        return data
    begin = b""
    for kind, content in _boxes(data):
        if kind in (b"jxlc", b"jxlp") and len(begin) < _HEADER_BYTES + len(CODESTREAM):
            begin += content if kind == b"jxlc" else content[4:]  # a number goes before each part
    return begin


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes of a container, the last one as far as it is there."""
    place = 0 if data.startswith(CONTAINER) else len(data)
    while place + 8 <= len(data):
        size, kind, begin = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], place + 8
        if size == 1:
            size, begin = int.from_bytes(data[place + 8 : place + 16], "big"), place + 16
        end = place + size if size else len(data)
        if end < begin:
            return
        yield kind, data[begin:end]
        place = end
