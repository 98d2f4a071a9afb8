"""Picture files to `Picture` and back: mode, depth, transparency, orientation and metadata are decided here, one by
one.

Start with `read_picture` and `write_picture`; both work on bytes, so that a pipe is as good as a file.
"""

import io
from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, PngImagePlugin

from psic_cli.errors import InputError, OutputError
from psic_cli.picture import Picture
from psic_cli.shell import colour
from psic_cli.shell.headers import bits_per_channel
from psic_cli.shell.metadata import EXIF_PREFIX, raw_profile, tiff_exif, upright_exif, upright_xmp
from psic_cli.shell.opening import DEFAULT_MAX_PIXELS, Warn, open_image, translated

_JPEG_SIDE = 65500
_WEBP_SIDE = 16383
# Two application segments of 64 kB, less their own headers: more does not fit a JPEG file.
_JPEG_SEGMENT = 65533 - 30

_PNG_END = b"IEND\xaeB`\x82"


class PictureFormat(str, Enum):
    """What `decode` can write."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    PPM = "ppm"
    TIFF = "tiff"
    BMP = "bmp"

    @property
    def suffix(self) -> str:
        """The suffix of a derived name."""
        return f".{self.value}"


_SUFFIX_FORMATS = {
    ".png": PictureFormat.PNG,
    ".jpg": PictureFormat.JPG,
    ".jpeg": PictureFormat.JPG,
    ".jpe": PictureFormat.JPG,
    ".jfif": PictureFormat.JPG,
    ".webp": PictureFormat.WEBP,
    ".ppm": PictureFormat.PPM,
    ".pgm": PictureFormat.PPM,
    ".pnm": PictureFormat.PPM,
    ".tif": PictureFormat.TIFF,
    ".tiff": PictureFormat.TIFF,
    ".bmp": PictureFormat.BMP,
}
WRITTEN_SUFFIXES = frozenset(_SUFFIX_FORMATS)


def format_of_suffix(suffix: str) -> PictureFormat | None:
    """The format that a file name asks for; None if psic does not write it."""
    return _SUFFIX_FORMATS.get(suffix.lower())


def read_picture(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, strip: bool = False, warn: Warn | None = None
) -> Picture:
    """The first picture of a file of any kind and mode that Pillow reads, upright and in 8 bits.

    strip: leave EXIF and XMP out. warn: told what was lost (further frames, depth, a range, an unusable profile).
    Raises `InputError` for a foreign, damaged, truncated or empty file and for more than `max_pixels`.
    """
    warn = warn or (lambda text: None)
    image = open_image(data, max_pixels, warn)
    with translated(data):
        kind = image.format or "?"
        if kind in ("GIF", "PNG", "WEBP", "TIFF", "AVIF") and getattr(image, "n_frames", 1) > 1:
            warn(f"only the first of {getattr(image, 'n_frames', 1)} frames is kept")
        image.load()
        if kind == "PNG" and _PNG_END not in data:
            raise InputError("the picture ends too early")  # the pixels may be there, what follows them is not
        # Only a loaded image has all its metadata: PNG may carry it behind the pixels.
        return picture_of(image, data, strip=strip, warn=warn)


def picture_of(image: Image.Image, data: bytes = b"", *, strip: bool = False, warn: Warn | None = None) -> Picture:
    """A loaded image of Pillow, of any mode, upright and in 8 bits; its metadata is what `image.info` holds.

    data: the file that it was read from, which says more about colours than Pillow does. strip, warn: as in
    `read_picture`. Raises `InputError` for colours that cannot be converted.
    """
    warn = warn or (lambda text: None)
    info = image.info
    exif = None if strip else _exif_of(image)
    xmp = None if strip else _xmp_of(info)
    icc = info.get("icc_profile") or None
    upright = ImageOps.exif_transpose(image)
    bits = bits_per_channel(image, data)
    if bits > 8:
        warn(f"its {bits} bits per channel are reduced to 8")
    if upright.mode in ("CMYK", "LAB"):
        rgb, alpha, grey, icc = np.asarray(colour.without_profile(upright, icc, warn)), None, False, None
    else:
        kind = image.format or "?"
        rgb, alpha, grey = _pixels(upright, kind, icc is None, warn)
        rgb, icc = colour.settle(rgb, grey, icc, kind, data, warn)
    if alpha is not None and bool((alpha == 255).all()):
        alpha = None  # an alpha channel that says nothing is not worth its bytes
    return Picture(_own(rgb), None if alpha is None else _own(alpha), grey, icc, exif, xmp)


def write_picture(picture: Picture, kind: PictureFormat, *, warn: Warn | None = None) -> bytes:
    """The bytes of a picture file; everything but JPEG is lossless.

    PNG and WebP keep transparency, ICC, EXIF and XMP; JPEG keeps the metadata, TIFF transparency and ICC, PPM and BMP
    only pixels. Transparency that cannot be kept is laid on white, colours whose profile cannot be kept are
    converted to sRGB, and `warn` is told. Raises `OutputError` if the format cannot hold the size.
    """
    warn = warn or (lambda text: None)
    limit = {PictureFormat.JPG: _JPEG_SIDE, PictureFormat.WEBP: _WEBP_SIDE}.get(kind)
    if limit is not None and max(picture.width, picture.height) > limit:
        message = (
            f"{kind.value} holds at most {limit} pixels per side, the picture has {picture.width} x {picture.height}"
        )
        raise OutputError(message, "use --format png")
    keeps_alpha = kind in (PictureFormat.PNG, PictureFormat.WEBP, PictureFormat.TIFF)
    if picture.alpha is not None and not keeps_alpha:
        warn(f"{kind.value} has no transparency: the picture is laid on white")
    writes_grey, writes_profile = kind is not PictureFormat.WEBP, kind not in (PictureFormat.PPM, PictureFormat.BMP)
    rgb, icc = colour.fit(picture.rgb, picture.grey, picture.icc, writes_grey, writes_profile, kind.value, warn)
    image = _image(replace(picture, rgb=rgb), keeps_alpha)
    options: dict[str, Any] = {"icc_profile": icc} if icc else {}
    if kind is PictureFormat.PNG:
        options |= _png_metadata(picture)
    elif kind is PictureFormat.JPG:
        options |= {"quality": 95, "subsampling": 0} | _jpeg_metadata(picture, warn)
    elif kind is PictureFormat.WEBP:
        options |= {"lossless": True, "exact": True, "exif": picture.exif or b"", "xmp": picture.xmp or b""}
    elif kind is PictureFormat.TIFF:
        options |= {"compression": "tiff_adobe_deflate"}
    else:
        options = {}
    buffer = io.BytesIO()
    image.save(buffer, {PictureFormat.JPG: "JPEG"}.get(kind, kind.value.upper()), **options)
    return buffer.getvalue()


# Reading


def _exif_of(image: Image.Image) -> bytes | None:
    if image.format == "TIFF":
        return tiff_exif(image)
    data = image.info.get("exif") or raw_profile(image.info.get("Raw profile type exif"))
    if not isinstance(data, bytes):
        return None
    data = data.removeprefix(EXIF_PREFIX)
    return upright_exif(data) if data[:2] in (b"II", b"MM") else None


def _xmp_of(info: dict[Any, Any]) -> bytes | None:
    data = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if isinstance(data, str):
        data = data.encode()
    return upright_xmp(data) if isinstance(data, bytes) and data else None


_Pixels = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None, bool]


def _pixels(image: Image.Image, kind: str, is_untagged: bool, warn: Warn) -> _Pixels:
    """rgb [H, W, 3], alpha [H, W] or None, and grey."""
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        values, alpha = _deep_grey(image, kind, warn)
        return _triple(values), alpha, True
    if mode in ("1", "L", "LA", "La"):
        keyed = mode in ("1", "L") and "transparency" in image.info  # one grey value stands for "see through"
        return *_grey(image.convert("LA") if keyed else image), True
    if image.has_transparency_data:
        array = np.asarray(image.convert("RGBA"))
        rgb, alpha = array[..., :3], array[..., 3]
    else:
        rgb, alpha = np.asarray(image.convert("RGB")), None
    # A palette of greys is a grey picture in disguise; with a colour profile it would not be one.
    grey = mode in ("P", "PA") and is_untagged and _is_grey(rgb)
    return rgb, alpha, grey


def _grey(image: Image.Image) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
    if image.mode in ("LA", "La"):
        array = np.asarray(image.convert("LA"))
        return _triple(array[..., 0]), array[..., 1]
    return _triple(np.asarray(image.convert("L"))), None


def _triple(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)


def _is_grey(rgb: npt.NDArray[np.uint8]) -> bool:
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())


def _own(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Contiguous and writable, as torch wants its input; Pillow's buffers are neither."""
    return np.require(array, requirements=["C", "W"])


def _deep_grey(image: Image.Image, kind: str, warn: Warn) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
    """One channel of more than 8 bits, scaled (Pillow's own conversion clips at 255)."""
    values = np.asarray(image).astype(np.float64)
    alpha = None
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    low, high = 0.0, 65535.0
    bits = getattr(image, "tag_v2", {}).get(258, (16,)) if kind == "TIFF" else (16,)
    if image.mode.startswith("I;16"):
        high = float(2 ** bits[0] - 1)  # 12-bit TIFF keeps its own range
    elif not (image.mode == "I" and kind in ("PNG", "PPM")):
        # 32-bit numbers have no agreed white: the usual scales are taken as they are, anything else is stretched.
        finite = values[np.isfinite(values)]
        least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        values = np.nan_to_num(values, nan=least, posinf=most, neginf=least)
        scales = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
        high = next((scale for scale in scales if least >= 0 and most <= scale), 0.0)
        if not high:
            low, high = least, most
            warn(f"its values {least:g} to {most:g} are scaled to 0 to 255")
    scaled = (values - low) * (255.0 / max(high - low, 1e-300))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8), alpha


# Writing


def _image(picture: Picture, keeps_alpha: bool) -> Image.Image:
    colour = picture.rgb[..., :1] if picture.grey else picture.rgb
    if picture.alpha is not None and not keeps_alpha:
        opacity = picture.alpha[..., None].astype(np.uint32)
        colour = ((colour * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
    elif picture.alpha is not None:
        colour = np.concatenate([colour, picture.alpha[..., None]], axis=2)
    return Image.fromarray(np.ascontiguousarray(colour[..., 0] if colour.shape[2] == 1 else colour))


def _png_metadata(picture: Picture) -> dict[str, Any]:
    options: dict[str, Any] = {"exif": picture.exif} if picture.exif else {}
    if picture.xmp:
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", picture.xmp.decode("utf-8", "replace"))
        options["pnginfo"] = chunks
    return options


def _jpeg_metadata(picture: Picture, warn: Warn) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, data in (("exif", EXIF_PREFIX + picture.exif if picture.exif else b""), ("xmp", picture.xmp or b"")):
        if len(data) > _JPEG_SEGMENT:
            warn(f"its {name.upper()} data ({len(data)} bytes) does not fit a JPEG file and is left out")
        elif data:
            options[name] = data
    return options
