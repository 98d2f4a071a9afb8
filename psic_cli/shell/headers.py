"""What the headers of picture files say and Pillow keeps to itself: bits per channel, PNG's chunks, kinds of TIFF.

All of it is read from bytes that anybody may have made: what is not sound is not known, and never an error.
"""

import io
import re
import struct

from PIL import Image, TiffImagePlugin

from psic_cli.errors import InputError

_PNG_START = 8  # bytes of its signature
_META_BYTES = 2**16  # within which AVIF and HEIF describe their pictures
_CODESTREAM = b"\xff\x4f\xff\x51"  # JPEG 2000: start of codestream, then the marker of the size segment
_CODESTREAM_BITS = 42  # from there to the first channel's depth
_NUMBERS = {1: "whole numbers", 2: "signed whole numbers", 3: "floating-point numbers"}  # TIFF's SampleFormat
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273


def png_chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks before a PNG's pixels; of several with one name the first."""
    chunks: dict[bytes, bytes] = {}
    at = _PNG_START
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        name = data[at + 4 : at + 8]
        if name == b"IDAT":
            break
        chunks.setdefault(name, data[at + 8 : at + 8 + size])
        at += size + 12
    return chunks


def bits_per_channel(image: Image.Image, data: bytes) -> int:
    """What the file stores, whatever Pillow makes of it; 8 where it does not say."""
    kind = image.format
    if kind == "PNG":
        return max(8, png_chunks(data).get(b"IHDR", b"")[8:9].ljust(1, b"\0")[0])
    if kind == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        return max(bits) if isinstance(bits, tuple) and bits else 8
    if kind == "PPM":
        found = re.match(rb"P[2356]\s+(?:#.*\s+)*\d+\s+(?:#.*\s+)*\d+\s+(?:#.*\s+)*(\d{1,5})\s", data[:512])
        return max(8, int(found[1]).bit_length()) if found else 8
    if kind == "JPEG2000":
        at = data.find(_CODESTREAM)
        depth = data[at + _CODESTREAM_BITS : at + _CODESTREAM_BITS + 1] if at >= 0 else b""
        return max(8, (depth[0] & 0x7F) + 1) if depth else 8
    if kind in ("AVIF", "HEIF"):
        boxes = re.finditer(rb"pixi\0\0\0\0([\1-\4])(.{4})", data[:_META_BYTES], re.DOTALL)
        return max((max(box[2][: box[1][0]]) for box in boxes), default=8)
    return 8


def hdr_transfer(kind: str, data: bytes) -> str | None:
    """ "PQ" or "HLG" where a file says that its values follow one of these curves of high dynamic range."""
    if kind == "PNG":
        code = png_chunks(data).get(b"cICP", b"")[1:2]
        return _HDR_TRANSFERS.get(code[0]) if code else None
    if kind in ("AVIF", "HEIF"):
        found = re.search(rb"colrnclx..(..)", data[:_META_BYTES], re.DOTALL)
        return _HDR_TRANSFERS.get(int.from_bytes(found[1], "big")) if found else None
    return None


def unsupported_tiff(data: bytes) -> InputError | None:
    """The error for a sound TIFF header that Pillow cannot do anything with, such as that of colour in floats."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        channels, bits, number = tags.get(277, 1), max(tags[258]), _NUMBERS[max(tags.get(339, (1,)))]
    except Exception:  # Pillow raises nearly anything on damaged bytes
        return None
    if number == _NUMBERS[1] and bits <= 16:
        return None
    what = "float colour is" if number == _NUMBERS[3] and channels > 1 else "this is"
    kind = "not supported" if what != "this is" else "a kind of TIFF that is not supported"
    text = f"{what} {kind}: the picture has {channels} channel{'s' * (channels != 1)} of {bits}-bit {number}"
    return InputError(text, "save it with 8 or 16 bits per channel")
