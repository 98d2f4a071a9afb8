"""Bytes to an open Pillow image: which kinds are taken, how large they may be, and what is said about all others.

This is the boundary that owns Pillow: whatever it or its plug-ins raise becomes one line for people. Start with
`open_image`.
"""

import contextlib
import io
from collections.abc import Callable
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from psic_cli.bitstream.header import MAX_PIXELS, MAX_SIDE
from psic_cli.errors import InputError
from psic_cli.icc import MAX_ICC_BYTES
from psic_cli.shell import plugins
from psic_cli.shell.headers import unsupported_tiff

DEFAULT_MAX_PIXELS = 200_000_000

# Formats that need another program (EPS runs Ghostscript), that Pillow only recognises, or that are ours.
_NOT_TAKEN = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PSIC", "WMF"})

_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("apng", "avif", "bmp", "dib", "gif", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm", "pcx", "pgm", "png"),
        *("pnm", "ppm", "qoi", "tga", "tif", "tiff", "webp"),
    )
)

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"RIFF", "WebP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"\x00\x00\x00\x0cjP", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)

Warn = Callable[[str], None]


def picture_suffixes() -> frozenset[str]:
    """What is taken from a folder; a file named on the command line is judged by its content instead."""
    return _SUFFIXES | plugins.suffixes(installed=True)


def open_image(data: bytes, max_pixels: int, warn: Warn) -> Image.Image:
    """The picture in a file of any kind, pixels not decoded yet where the kind allows that.

    Raises `InputError` for a foreign, damaged or empty file, a missing plug-in, and more than `max_pixels`.
    """
    if not data:
        raise InputError("the picture is empty: it has no bytes")
    if data.startswith(b"\x8fPS\n"):
        raise InputError("this is already a .psic file", "to get the picture out of it, use: psic decode")
    # Our own limit is checked before any pixel is decoded, with the option that raises it in the message; Pillow's
    # would warn first. Not set on import: a program that only saves .psic files keeps Pillow's.
    Image.MAX_IMAGE_PIXELS = None
    # A profile may be larger than the megabyte that Pillow allows; a PNG with one would be refused as a whole.
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_ICC_BYTES
    with translated(data):
        plugin = plugins.plugin_for(data)
        if plugin is not None:
            image = plugins.open_image(
                plugin, data, lambda width, height: check_pixels(width, height, max_pixels), warn
            )
        else:
            Image.init()
            image = Image.open(io.BytesIO(data), formats=[kind for kind in Image.ID if kind not in _NOT_TAKEN])
    check_pixels(image.width, image.height, max_pixels)
    return image


def check_pixels(width: int, height: int, limit: int) -> None:
    """`InputError` for a picture of more pixels than the user allows, or than a .psic file holds: asked before any of
    them is decoded.
    """
    pixels = width * height
    if max(width, height) > MAX_SIDE or pixels > MAX_PIXELS:
        message = f"the picture has {width} x {height} pixels, more than a .psic file holds"
        raise InputError(message, f"at most {MAX_SIDE} per side and {MAX_PIXELS} in all")
    if pixels > limit:
        message = f"the picture has {width} x {height} = {pixels} pixels, more than the limit of {limit}"
        raise InputError(message, f"--max-pixels {pixels} takes it, if there is memory enough")


@contextlib.contextmanager
def translated(data: bytes) -> Any:
    """Turn whatever Pillow raises on foreign or damaged bytes into `InputError`: its readers raise nearly anything."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:
        text = str(error)
        if isinstance(error, EOFError) or any(
            word in text.lower() for word in ("truncated", "not enough", "end of file")
        ):
            raise InputError("the picture ends too early") from error
        detail = " ".join(text.split()) or type(error).__name__
        raise InputError(f"the picture is damaged or of an unknown kind ({detail})") from error


def _unidentified(data: bytes) -> InputError:
    unsupported = unsupported_tiff(data) if data[:4] in (b"II*\0", b"MM\0*") else None
    if unsupported is not None:
        return unsupported
    for signature, kind in _SIGNATURES:
        if data.startswith(signature[:4]):
            return InputError(f"the {kind} picture is damaged or ends too early: its header cannot be read")
    start = "".join(chr(byte) if 0x20 < byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in data[:4])
    hint = "psic reads PNG, JPEG, WebP, TIFF, GIF, BMP, AVIF, JPEG 2000 and more"
    return InputError(f'this is not a picture psic can read (it starts with "{start}")', hint)
