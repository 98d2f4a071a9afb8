"""What others may do to a protected picture, by accident or to get rid of the shield. Start with `find_attacks`.

They change the picture after it was decoded; the original goes through the same, since a recompressed original is
harder to read too. What a decoder without the key may ask the network for is in seeing.py.

All of them are mild: what a chat program or an upload does, not what a determined attacker could train. Sizes are in
pixels of the picture, so they weigh less on a large one. Equal input gives equal output; chance is seeded by the
picture, and falls alike on the original and on every version.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from psic_cli.errors import UsageError
from psic_cli.picture import Pixels

Change = Callable[[Pixels, np.random.Generator], Pixels]

NOISE_LEVELS = 8  # standard deviation
BLUR_PIXELS = 1  # standard deviation
CROP_SHARE = 0.8  # of each side


@dataclass(frozen=True)
class Attack:
    """One attack. does: in words. change: what happens to pixels, [H, W, 3] uint8 to [h, w, 3] uint8; None: nothing."""

    name: str
    does: str
    change: Change | None = None


def find_attacks(names: str) -> list[Attack]:
    """The attacks of a list such as "jpeg75,blur", each once, "all" for all of them; "none" is always there and first.

    UsageError for an unknown one.
    """
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in ATTACKS and name != "all":
            raise UsageError(f"unknown attack {name!r}", f"attacks: all, {', '.join(ATTACKS)}")
    chosen = list(ATTACKS) if "all" in wanted else wanted
    return [ATTACKS[name] for name in dict.fromkeys([NONE, *chosen])]


def apply(attack: Attack, rgb: Pixels, seed: bytes) -> Pixels:
    """A picture after an attack. rgb: [H, W, 3] uint8.

    seed: what identifies the picture, the same for its original and all versions.
    """
    if attack.change is None:
        return rgb
    return attack.change(rgb, np.random.default_rng([*seed, zlib.crc32(attack.name.encode())]))


def _recompressed(kind: str, **settings: Any) -> Change:
    def change(rgb: Pixels, generator: np.random.Generator) -> Pixels:
        stream = io.BytesIO()
        Image.fromarray(rgb).save(stream, kind, **settings)
        with Image.open(stream, formats=[kind]) as decoded:
            return np.asarray(decoded.convert("RGB"))

    return change


def _resized(rgb: Pixels, generator: np.random.Generator) -> Pixels:
    height, width = rgb.shape[:2]
    small = Image.fromarray(rgb).resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _filtered(kernel: ImageFilter.Filter) -> Change:
    def change(rgb: Pixels, generator: np.random.Generator) -> Pixels:
        return np.asarray(Image.fromarray(rgb).filter(kernel))

    return change


def _noisy(rgb: Pixels, generator: np.random.Generator) -> Pixels:
    noise = generator.standard_normal(rgb.shape, np.float32) * NOISE_LEVELS
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)


def _cropped(rgb: Pixels, generator: np.random.Generator) -> Pixels:
    height, width = (max(1, round(CROP_SHARE * side)) for side in rgb.shape[:2])
    top = int(generator.integers(rgb.shape[0] - height + 1))
    left = int(generator.integers(rgb.shape[1] - width + 1))
    return np.ascontiguousarray(rgb[top : top + height, left : left + width])


NONE = "none"
ATTACKS = {
    attack.name: attack
    for attack in (
        Attack(NONE, "nothing"),
        *(
            Attack(f"jpeg{quality}", f"JPEG of quality {quality}", _recompressed("JPEG", quality=quality))
            for quality in (90, 75, 50, 30)
        ),
        Attack("webp50", "WebP of quality 50", _recompressed("WEBP", quality=50)),
        Attack("resize", "half as large and back, bicubic", _resized),
        Attack(
            "blur", f"Gaussian blur, standard deviation {BLUR_PIXELS} pixel", _filtered(ImageFilter.GaussianBlur(1))
        ),
        Attack("median", "median of 3 x 3 pixels", _filtered(ImageFilter.MedianFilter(3))),
        Attack("noise", f"Gaussian noise, standard deviation {NOISE_LEVELS} of 255", _noisy),
        Attack("crop", f"{CROP_SHARE:.0%} of each side, at a random place", _cropped),
    )
}
