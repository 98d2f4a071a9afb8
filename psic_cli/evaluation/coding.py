"""Real encodes to bytes and real decodes of them: every figure of an evaluation starts here."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from psic_cli import codec, keys, zoo
from psic_cli.codec import Version
from psic_cli.picture import Picture, Pixels
from psic_cli.search.effort import DEFAULT_EFFORT

SECRET = bytes(keys.SECRET_BYTES)  # any key seals in as many bytes as any other


@dataclass(frozen=True)
class Coded:
    """One picture in one quality. decode_seconds and pictures ([H, W, 3] uint8): by version."""

    bpp: float  # bits of the whole sealed file, per pixel
    encode_seconds: float
    decode_seconds: dict[Version, float]
    pictures: dict[Version, Pixels]


@dataclass(frozen=True)
class Making:
    """How files are made, as `psic encode` is told. strength: of the shield, in percent. effort: 0..9."""

    strength: int = 100
    effort: int = DEFAULT_EFFORT


USUAL = Making()


def encode(rgb: Pixels, model: zoo.Model, quality: int, making: Making = USUAL) -> bytes:
    """A sealed file without metadata. rgb: [H, W, 3] uint8. quality: 1..100."""
    return codec.encode(Picture(rgb), SECRET, model=model, quality=quality, **asdict(making))


def decode(data: bytes, model: zoo.Model, version: Version, condition: codec.Asked | None = None) -> Pixels:
    """One version of what `encode` made, [H, W, 3] uint8. condition: as codec.decode takes it."""
    return codec.decode(data, SECRET, version=version, device=model.device, condition=condition).rgb


def coding_key(model: zoo.Model, making: Making) -> dict[str, object]:
    """What a decoded picture depends on, besides the picture and the quality."""
    return {
        "weights": "+".join(zoo.family_of(model.card)) or model.card.sha256,
        "device": model.device,
        "precision": str(model.precision),
        **asdict(making),
    }


def bits_per_pixel(data: bytes, rgb: Pixels) -> float:
    """Bits of the whole file for each pixel of its picture."""
    return 8 * len(data) / (rgb.shape[0] * rgb.shape[1])


def code(rgb: Pixels, model: zoo.Model, quality: int, versions: Iterable[Version], making: Making = USUAL) -> Coded:
    """Encode to a sealed file, and decode it once for each version, with the time that each step takes."""
    started = time.perf_counter()
    data = encode(rgb, model, quality, making)
    encode_seconds = time.perf_counter() - started
    seconds, pictures = {}, {}
    for version in versions:
        started = time.perf_counter()
        pictures[version] = decode(data, model, version)
        seconds[version] = time.perf_counter() - started
    return Coded(bits_per_pixel(data, rgb), encode_seconds, seconds, pictures)


def warm_up(model: zoo.Model) -> None:
    """Let libraries set themselves up, which only a first picture pays for."""
    code(np.zeros((64, 64, 3), np.uint8), model, 50, [Version.PROTECTED, Version.FULL])
