"""Small pictures in memory, and files made of them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from psic_cli.icc import standard_srgb
from psic_cli.picture import Pixels

SRGB = standard_srgb()
GREY: Pixels = np.arange(0, 2 * 12 * 9, 2, dtype=np.uint8).reshape(12, 9)
RGB: Pixels = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif_with(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    return exif.tobytes()


def grey_profile(gamma: float) -> bytes:
    """A grey profile of version 2 with one power curve."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">IH2x", 1, round(gamma * 256))
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(8) + bytes(3 + 67) + b"\0"
    table, body = struct.pack(">I", 3), b""
    for tag, content in ((b"desc", name), (b"wtpt", white), (b"kTRC", curve)):
        table += struct.pack(">4sII", tag, 128 + 4 + 36 + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI4s4s4s12x4s28x", 168 + len(body), 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    return (header + white[8:]).ljust(128, b"\0") + table + body


def with_chunks(data: bytes, **chunks: bytes) -> bytes:
    """A PNG with chunks behind its header."""
    for name, content in reversed(chunks.items()):
        chunk = name.encode() + content
        data = data[:33] + struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    return data


def gama(gamma: float) -> bytes:
    return struct.pack(">I", round(100000 * gamma))


def deep_png(colour_type: int, channels: int) -> bytes:
    values = np.linspace(0, 65535, 12 * 9 * channels).astype(">u2").reshape(12, 9 * channels)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">2I5B", 9, 12, 16, colour_type, 0, 0, 0)
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        chunk = name + content
        data += struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data


def deep_tiff(channels: int, bits: int, number: int) -> bytes:
    """A TIFF without compression, of one strip. number: SampleFormat."""
    width, height = 9, 12
    pixels = bytes(width * height * channels * bits // 8)
    entries = {256: (width,), 257: (height,), 258: (bits,) * channels, 259: (1,), 262: (2 if channels > 1 else 1,)}
    entries |= {273: (8,), 277: (channels,), 278: (height,), 279: (len(pixels),), 339: (number,) * channels}
    directory, extra = struct.pack("<H", len(entries)), b""
    behind = 8 + len(pixels) + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}H", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", behind + len(extra)), extra + packed
        directory += struct.pack("<HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + bytes(4) + extra
