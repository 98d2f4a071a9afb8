"""Other codecs, measured on the same pictures in the same run: those that Pillow brings, with its default settings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features

from psic_cli.errors import UsageError
from psic_cli.evaluation.metrics import psnr
from psic_cli.picture import Pixels


@dataclass(frozen=True)
class Peer:
    """A codec of Pillow. settings: of each point of its curve, as `Image.save` takes them."""

    name: str
    format: str
    feature: str
    settings: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class PeerPoint:
    """One picture, coded by a peer with one setting (its number in `Peer.settings`)."""

    picture: str
    peer: str
    setting: int
    bpp: float
    psnr: float


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
    )
}


def find_peers(names: Sequence[str]) -> list[Peer]:
    """The peers of these names. UsageError for an unknown one, and for one that this Pillow was built without."""
    for name in names:
        if name not in PEERS:
            raise UsageError(f"unknown peer {name!r}", f"peers: {', '.join(PEERS)}")
        if not features.check(PEERS[name].feature):
            raise UsageError(f"the installed Pillow has no {name}", "leave it out of --peers")
    return [PEERS[name] for name in dict.fromkeys(names)]


def measure(name: str, rgb: Pixels, peer: Peer) -> list[PeerPoint]:
    """One picture along a peer's curve. rgb: [H, W, 3] uint8."""
    original, points = Image.fromarray(rgb), []
    for number, settings in enumerate(peer.settings):
        stream = io.BytesIO()
        original.save(stream, peer.format, **settings)
        bits = 8 * stream.tell()
        with Image.open(stream, formats=[peer.format]) as decoded:
            lost = psnr(rgb, np.asarray(decoded.convert("RGB")))
        points.append(PeerPoint(name, peer.name, number, bits / (rgb.shape[0] * rgb.shape[1]), lost))
    return points
