"""ICC profiles with littleCMS: which are usable, which are plain sRGB, and pixels converted from one to sRGB."""

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from psic_cli.icc import MAX_ICC_BYTES, standard_srgb

GREY, RGB = b"GRAY", b"RGB "  # colour spaces as profiles name them
PROBLEMS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
_HEADER_BYTES = 128
_D50 = np.array([0.9642, 1.0, 0.8249])
# Linear Bradford adaptation (ICC.1:2022, annex E).
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def space_of(icc: bytes) -> bytes:
    """GREY, RGB, or another colour space of pixels."""
    return icc[16:20]


def problem_of(icc: bytes, space: bytes) -> str | None:
    """What is wrong with a profile for pixels of this space, in words after "its colour profile"."""
    if len(icc) <= _HEADER_BYTES or icc[36:40] != b"acsp":
        return "is no ICC profile"
    if int.from_bytes(icc[:4], "big") > len(icc):
        return "ends too early"
    if len(icc) > MAX_ICC_BYTES:
        return f"has {len(icc)} bytes, more than {MAX_ICC_BYTES}"
    if space_of(icc) != space:
        names = {GREY: "grey", RGB: "colour"}
        return f"is for {names.get(space_of(icc), 'other')} pixels, not for {names[space]}"
    try:
        _transform(icc, ImageCms.Intent.PERCEPTUAL)
    except PROBLEMS:
        return "is damaged"
    return None


def is_srgb(icc: bytes) -> bool:
    """Whether an RGB profile that is sound says what sRGB says: its colours are within a level, all over the cube."""
    if icc == standard_srgb():
        return True
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    for intent in (ImageCms.Intent.PERCEPTUAL, ImageCms.Intent.RELATIVE_COLORIMETRIC):
        found = _apply(cube, icc, intent)
        if np.abs(found.astype(int) - cube).max() > 1:
            return False
    return True


def to_srgb(rgb: npt.NDArray[np.uint8], icc: bytes) -> npt.NDArray[np.uint8] | None:
    """Colours [H, W, 3] from an RGB or a grey profile to sRGB; None if the profile is of no use."""
    try:
        return _apply(rgb, icc, ImageCms.Intent.RELATIVE_COLORIMETRIC)
    except PROBLEMS:
        return None


def image_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """CMYK through its profile, Lab through the one it has by definition. Raises one of PROBLEMS."""
    source = ImageCms.createProfile("LAB") if image.mode == "LAB" else _open(icc or b"")
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if converted is None:
        raise ValueError("no conversion")
    return converted


def profile_of(primaries: tuple[float, ...], curve: tuple[float, ...], name: str) -> bytes | None:
    """An RGB profile (ICC version 4); None where the numbers make none.

    primaries: x and y of white, red, green, blue, as in PNG's cHRM. curve: g, a, b, c, d of ICC's parametric curve 3,
    v -> (a v + b)^g from d on, c v below.
    """
    xy = np.array(primaries).reshape(4, 2)
    if (xy[:, 1] <= 0).any():
        return None
    white, *colours = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in xy)
    try:
        matrix = np.stack(colours, axis=1)
        matrix = matrix * np.linalg.solve(matrix, white)
        adapted = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD @ matrix
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 100:
        return None
    described = name.encode("utf-16-be")
    text = struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(described), 28) + described
    tone = struct.pack(">4s4xHxx", b"para", 3) + _fixed(*curve)
    tags = {b"desc": text, b"cprt": text, b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50)}
    for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted.T, strict=True):
        tags[tag] = b"XYZ " + bytes(4) + _fixed(*column)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone)
    table, body = struct.pack(">I", len(tags)), b""
    start = _HEADER_BYTES + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size, version, date = start + len(body), 0x04400000, (2000, 1, 1, 0, 0, 0)
    header = struct.pack(">I4xI4s4s4s6H4s28x", size, version, b"mntr", RGB, b"XYZ ", *date, b"acsp") + _fixed(*_D50)
    return header.ljust(_HEADER_BYTES, b"\0") + table + body


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def _open(icc: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(icc))


def _transform(icc: bytes, intent: ImageCms.Intent) -> ImageCms.ImageCmsTransform:
    mode = "L" if space_of(icc) == GREY else "RGB"
    # littleCMS's own optimisation puts the shadows of grey profiles up to ten levels off, and is no faster.
    exact = ImageCms.Flags.NOOPTIMIZE
    return ImageCms.buildTransform(_open(icc), ImageCms.createProfile("sRGB"), mode, "RGB", intent, exact)


def _apply(rgb: npt.NDArray[np.uint8], icc: bytes, intent: ImageCms.Intent) -> npt.NDArray[np.uint8]:
    pixels = rgb[..., 0] if space_of(icc) == GREY else rgb
    converted = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels)), _transform(icc, intent))
    if converted is None:
        raise ValueError("no conversion")
    return np.asarray(converted)
