"""Everything that is timed, behind one interface: psic itself, Pillow's codecs, and (in networks.py) other networks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import AvifImagePlugin, Image

from psic_cli import keys, packages
from psic_cli.errors import UsageError
from psic_cli.evaluation.best_settings import BEST
from psic_cli.picture import Picture, Pixels
from psic_cli.search.effort import DEFAULT_EFFORT

if TYPE_CHECKING:
    from psic_cli.zoo import Model

PSIC, PSIC_PROTECTED = "psic", "psic-protected"
LESS_EFFORT = (0, 1)  # at which psic is timed besides the default one
PILLOW = {"jpeg": "JPEG", "webp": "WEBP", "avif": "AVIF"}  # and the names that Pillow gives them
NETWORKS = ("bmshj2018-hyperprior", "mbt2018-mean", "cheng2020-anchor", "psic-release-size")
PEERS = (*PILLOW, *NETWORKS)


class Contender(Protocol):
    """A codec to time: pixels [H, W, 3] uint8 to bytes and back.

    setting: for people, and for `once` to make the same again: a quality, or a precision.
    """

    name: str

    @property
    def setting(self) -> str: ...

    def encode(self, rgb: Pixels) -> bytes: ...

    def decode(self, data: bytes) -> Pixels: ...


def check_names(names: list[str]) -> list[str]:
    """Each name once. UsageError for one that is unknown, or that needs what is not installed."""
    for name in names:
        _check(name)
    return list(dict.fromkeys(names))


def installed() -> tuple[list[str], dict[str, list[str]]]:
    """The peers that can be measured here, and the others by what they lack."""
    found: list[str] = []
    missing: dict[str, list[str]] = {}
    for name in PEERS:
        try:
            _check(name)
        except UsageError as error:
            missing.setdefault(str(error), []).append(name)
        else:
            found.append(name)
    return found, missing


def _check(name: str) -> None:
    Image.init()
    if name not in PEERS:
        raise UsageError(f"unknown peer {name!r}", f"peers: {', '.join(PEERS)}")
    if name in PILLOW and PILLOW[name] not in Image.SAVE:
        raise UsageError(f"the installed Pillow has no {name}", "leave it out of --peers")
    if name in NETWORKS:
        packages.need("compressai", "a network as peer", extra="compressai")


class PsicCodec:
    """psic with one model, quality and effort: sealed files, decoded in full, which reads all of a file, or protected,
    which is what everybody does.
    """

    def __init__(
        self,
        model: Model,
        quality: int,
        secret: bytes = bytes(keys.SECRET_BYTES),
        *,
        effort: int = DEFAULT_EFFORT,
        protected: bool = False,
    ) -> None:
        self.model, self.quality, self.secret = model, quality, secret
        self.effort, self.protected = effort, protected
        self.name = PSIC_PROTECTED if protected else PSIC if effort == DEFAULT_EFFORT else f"{PSIC}-effort-{effort}"

    @property
    def setting(self) -> str:
        return f"q {self.quality}, effort {self.effort}, {str(self.model.precision).removeprefix('torch.')}"

    def encode(self, rgb: Pixels) -> bytes:
        from psic_cli import codec

        return codec.encode(Picture(rgb), self.secret, model=self.model, quality=self.quality, effort=self.effort)

    def decode(self, data: bytes) -> Pixels:
        from psic_cli import codec

        version = codec.Version.PROTECTED if self.protected else codec.Version.FULL
        device = self.model.device
        return codec.decode(data, self.secret, version=version, device=device, max_pixels=2**40).rgb


class PillowCodec:
    """A codec of Pillow in its best settings. quality: 1..95. threads: of a codec that has any."""

    def __init__(self, name: str, quality: int, threads: int) -> None:
        self.name, self.quality = name, quality
        self._options = BEST[name] | ({"max_threads": threads} if name == "avif" else {})
        if name == "avif":
            AvifImagePlugin.DEFAULT_MAX_THREADS = threads  # of decoders: Pillow knows no other way

    @property
    def setting(self) -> str:
        return str(self.quality)

    def encode(self, rgb: Pixels) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(rgb).save(stream, PILLOW[self.name], quality=self.quality, **self._options)
        return stream.getvalue()

    def decode(self, data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data), formats=[PILLOW[self.name]]) as picture:
            return np.asarray(picture.convert("RGB"))


def quality_near(name: str, rgb: Pixels, size_bytes: int, threads: int) -> int:
    """The quality 1..95 at which a codec of Pillow comes nearest to `size_bytes` on rgb, found by bisection."""

    def bytes_at(quality: int) -> int:
        return len(PillowCodec(name, quality, threads).encode(rgb))

    low, high = 1, 95
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bytes_at(middle) < size_bytes else (low, middle)
    return min((low, high), key=lambda quality: abs(bytes_at(quality) - size_bytes))
