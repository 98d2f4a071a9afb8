"""From a file to the versions that are audited: a .psic file is decoded, a picture encoded first, or left as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from psic_cli import codec, zoo
from psic_cli.bitstream import container
from psic_cli.codec import Version
from psic_cli.errors import InputError
from psic_cli.evaluation.audit import FULL, ORIGINAL, PICTURE, PROTECTED
from psic_cli.evaluation.coding import Making, code
from psic_cli.picture import Pixels
from psic_cli.shell.pictures import read_picture


@dataclass(frozen=True)
class Prepared:
    """The versions of one file, [H, W, 3] uint8 by name, in the order in which they are shown; and how it was coded.

    card, quality: None for a picture that is read as it is.
    """

    versions: dict[str, Pixels]
    card: zoo.Card | None
    quality: int | None
    bpp: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.versions[PICTURE if PICTURE in self.versions else PROTECTED].shape[:2]
        return width, height


def is_psic(name: str, data: bytes) -> bool:
    """By content; and by name, so that a damaged .psic file is called one."""
    return data.startswith(container.MAGIC) or name.lower().endswith(".psic")


def prepare_picture(data: bytes, model: zoo.Model, quality: int, making: Making, max_pixels: int) -> Prepared:
    """A picture file, encoded in memory and decoded in both versions. InputError as in `read_picture`."""
    rgb = read_picture(data, max_pixels=max_pixels, strip=True).rgb
    coded = code(rgb, model, quality, [Version.PROTECTED, Version.FULL], making)
    versions = {ORIGINAL: rgb, PROTECTED: coded.pictures[Version.PROTECTED], FULL: coded.pictures[Version.FULL]}
    return Prepared(versions, model.card, quality, coded.bpp)


def prepare_pair(data: bytes, original: Pixels, max_pixels: int) -> Prepared:
    """A picture file as it is, beside the original, which may have another size. InputError as in `read_picture`."""
    rgb = read_picture(data, max_pixels=max_pixels, strip=True).rgb
    return Prepared({ORIGINAL: original, PICTURE: rgb}, None, None, 8 * len(data) * 3 / rgb.size)


def prepare_file(
    data: bytes, original: Pixels | None, secret: Callable[[], bytes] | None, device: str, max_pixels: int
) -> Prepared:
    """A .psic file: protected, the original if it is given, full if there is a key or the file is open.

    secret: called only if the file is sealed. Raises what the codec raises, and InputError for an original of another
    size.
    """
    header = container.unpack(data).header
    card = zoo.find_card(header.model, header.weights_hash)
    versions = {}
    if original is not None:
        height, width = original.shape[:2]
        if (width, height) != (header.width, header.height):
            raise InputError(f"the file has {header.width} x {header.height} pixels, its original {width} x {height}")
        versions[ORIGINAL] = original
    key = secret() if secret is not None and header.sealed else None
    for name, version in ((PROTECTED, Version.PROTECTED), (FULL, Version.FULL)):
        if version is Version.PROTECTED or key is not None or not header.sealed:
            versions[name] = codec.decode(data, key, version=version, device=device, max_pixels=max_pixels).rgb
    return Prepared(versions, card, header.quality, 8 * len(data) / (header.width * header.height))
