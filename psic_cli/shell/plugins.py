"""HEIC and JPEG XL, which plug-ins of Pillow read: the extra `formats` installs them.

They are loaded when such a picture is met, and not before.
"""

import importlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from psic_cli.errors import InputError
from psic_cli.shell import jpeg_xl
from psic_cli.shell.metadata import EXIF_PREFIX, upright_exif, upright_xmp

HINT = "this installs what reads HEIC and JPEG XL: pip install 'psic[formats]'"

# In the brands of a HEIF file: its pictures are HEVC. AVIF is the other kind, which Pillow reads itself.
_HEVC_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"))

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Plugin:
    """A kind of picture and the module that reads it."""

    kind: str
    module: str
    suffixes: frozenset[str]

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


HEIC = Plugin("HEIC", "pillow_heif", frozenset((".heic", ".heif", ".hif")))
JPEG_XL = Plugin("JPEG XL", "pillow_jxl", frozenset((".jxl",)))


def suffixes(*, installed: bool) -> frozenset[str]:
    """The suffixes of the kinds whose plug-in is installed, or of those whose is not."""
    return frozenset().union(*(plugin.suffixes for plugin in (HEIC, JPEG_XL) if plugin.is_installed == installed))


def plugin_for(data: bytes) -> Plugin | None:
    """The plug-in that the content asks for."""
    if data.startswith((jpeg_xl.CODESTREAM, jpeg_xl.CONTAINER)):
        return JPEG_XL
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), 256)  # what is longer lists hundreds of brands
    brands = {data[8:12], *(data[place : place + 4] for place in range(16, end, 4))}
    return HEIC if brands & _HEVC_BRANDS else None


def open_image(plugin: Plugin, data: bytes, check_size: Callable[[int, int], None], warn: Warn) -> Image.Image:
    """The picture, not turned by its orientation more than its EXIF still says.

    check_size: asked before any pixel is decoded. Raises `InputError` if the plug-in is not installed or finds damage.
    """
    if not plugin.is_installed:
        raise InputError(f"this is a picture of kind {plugin.kind}, which needs a plug-in", HINT)
    importlib.import_module(plugin.module)
    try:
        return _open_heic(data) if plugin is HEIC else _open_jpeg_xl(data, check_size, warn)
    except (RuntimeError, SyntaxError, ValueError) as error:
        raise InputError(f"the {plugin.kind} picture is damaged or ends too early") from error


def _open_heic(data: bytes) -> Image.Image:
    # Turned by the plug-in, which sets the orientation in EXIF and XMP to 1; nothing is decoded before `load`.
    from pillow_heif import HeifImageFile

    return HeifImageFile(io.BytesIO(data))


def _open_jpeg_xl(data: bytes, check_size: Callable[[int, int], None], warn: Warn) -> Image.Image:
    from pillow_jxl.JpegXLImagePlugin import JXLImageFile

    header = jpeg_xl.read_header(data)
    check_size(header.width, header.height)
    image = JXLImageFile(io.BytesIO(data))  # decodes at once
    if image.jpeg:  # repacked, and given back as the JPEG file was, with all that goes with it
        return image
    if jpeg_xl.has_compressed_metadata(data):
        warn("its compressed metadata is left out")
    exif, xmp = image.info.get("exif"), jpeg_xl.read_xmp(data)
    if header.orientation != 1:  # the decoder has turned it; EXIF counts where the codestream says nothing
        exif = exif and upright_exif(exif.removeprefix(EXIF_PREFIX))
        xmp = xmp and upright_xmp(xmp)
    image.info |= {name: value for name, value in (("exif", exif), ("xmp", xmp)) if value}
    return image
