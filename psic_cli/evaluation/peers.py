"""Other codecs on the same pictures in the same run: those of Pillow and its plug-ins, in their best settings."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features

from psic_cli.errors import InputError, UsageError
from psic_cli.evaluation import ms_ssim
from psic_cli.evaluation.best_settings import BEST
from psic_cli.evaluation.cache import Cache, Entry, picture_hash
from psic_cli.evaluation.metrics import psnr
from psic_cli.picture import Pixels


@dataclass(frozen=True)
class Peer:
    """A codec of Pillow. feature: what Pillow calls it. points: what makes each point of its curve, as `Image.save`
    takes it, beside the settings that are best for it. plugin: the module that brings it, where Pillow does not.
    """

    name: str
    format: str
    feature: str
    points: tuple[dict[str, Any], ...]
    plugin: str | None = None

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Of each point, all that `Image.save` is given."""
        return [BEST[self.name] | point for point in self.points]


@dataclass(frozen=True)
class PeerPoint:
    """One picture, coded by a peer with one setting (its number in `Peer.settings`).

    psnr: dB. ms_ssim: 0..1, None for small pictures.
    """

    picture: str
    peer: str
    setting: int
    bpp: float
    psnr: float
    ms_ssim: float | None


def _qualities(*values: int) -> tuple[dict[str, Any], ...]:
    return tuple({"quality": value} for value in values)


_COMPRESSION_RATIOS = (160, 96, 60, 40, 28, 20, 14, 10)  # of 24 bits per pixel
PEERS = {
    peer.name: peer
    for peer in (
        Peer("jpeg", "JPEG", "jpg", _qualities(5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)),
        Peer("webp", "WEBP", "webp", _qualities(1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)),
        Peer("avif", "AVIF", "avif", _qualities(10, 20, 30, 40, 50, 60, 70, 80, 90)),
        Peer("jpeg2000", "JPEG2000", "jpg_2000", tuple({"quality_layers": [ratio]} for ratio in _COMPRESSION_RATIOS)),
        Peer("jpegxl", "JXL", "jxl", _qualities(5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95), plugin="pillow_jxl"),
    )
}


def find_peers(names: Sequence[str]) -> list[Peer]:
    """The peers of these names. UsageError for an unknown one, and for one that this Pillow was built without."""
    for name in names:
        if name not in PEERS:
            raise UsageError(f"unknown peer {name!r}", f"peers: {', '.join(PEERS)}")
        plugin = PEERS[name].plugin
        if plugin is not None:
            _register(plugin, name)
        elif not features.check(PEERS[name].feature):
            raise UsageError(f"the installed Pillow has no {name}", "leave it out of --peers")
    return [PEERS[name] for name in dict.fromkeys(names)]


def measure(name: str, rgb: Pixels, peer: Peer, cache: Cache | None = None) -> list[PeerPoint]:
    """One picture along a peer's curve. rgb: [H, W, 3] uint8. InputError where the peer cannot code it (too large)."""
    kept = cache or Cache()
    key = {"what": "peer", "picture": picture_hash(rgb), "peer": peer.name, "settings": peer.settings}
    entry = kept.read(key)
    if entry is None:
        try:
            structure = ms_ssim.reference(rgb)
            points = [_code(rgb, structure, peer, settings) for settings in peer.settings]
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: {peer.name} cannot code it: {' '.join(str(error).split())}") from error
        entry = Entry({"points": points})
        kept.write(key, entry)
    return [PeerPoint(name, peer.name, number, *point) for number, point in enumerate(entry.figures["points"])]


def _code(
    rgb: Pixels, structure: ms_ssim.Reference | None, peer: Peer, settings: dict[str, Any]
) -> tuple[float, float, float | None]:
    """Bits per pixel, PSNR in dB, MS-SSIM."""
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, peer.format, **settings)
    bits = 8 * stream.tell()
    with Image.open(stream, formats=[peer.format]) as image:
        decoded = np.asarray(image.convert("RGB"))
    similar = None if structure is None else structure.similarity(decoded)
    return bits / (rgb.shape[0] * rgb.shape[1]), psnr(rgb, decoded), similar


def _register(plugin: str, name: str) -> None:
    """A plug-in adds its format to Pillow when it is imported."""
    try:
        importlib.import_module(plugin)
    except ImportError:
        raise UsageError(
            f"Pillow has no {name} without its plug-in", f"pip install {plugin.replace('_', '-')}-plugin"
        ) from None
