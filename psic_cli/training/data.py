"""Pictures for training: decoded once, kept in memory as uint8, cropped at random.

A held-out share (by a hash of the file name) is for validation only.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from psic_cli.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
HELD_OUT_SHARE = 40  # one photo in so many


@dataclass(frozen=True)
class Pair:
    """A picture uint8 [H, W, 3] and its captions."""

    rgb: np.ndarray
    captions: list[str]


def is_held_out(path: Path) -> bool:
    """Whether a picture is kept for validation; depends on its name alone."""
    return zlib.crc32(path.name.encode()) % HELD_OUT_SHARE == 0


def list_pictures(folders: list[str]) -> list[Path]:
    """All pictures below the folders, sorted. InputError if there are none."""
    paths = sorted(p for folder in folders for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"no pictures in {', '.join(folders) or 'the configuration'}")
    return paths


def read_rgb(path: Path) -> np.ndarray:
    """uint8 [H, W, 3]."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def read_pairs(path: Path, split: str) -> list[Pair]:
    """Image-text pairs of one split of a captions.jsonl."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Pair(read_rgb(path.parent / row["image"]), row["captions"]) for row in rows if row["split"] == split]


def to_tensor(rgb: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] -> float32 [3, H, W] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float() / 255.0


def random_crop(rgb: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """A square of `size` pixels, flipped half of the time; smaller pictures are enlarged first."""
    short = min(rgb.shape[:2])
    if short < size:
        height, width = (max(size, round(side * size / short)) for side in rgb.shape[:2])
        rgb = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
    top = generator.integers(rgb.shape[0] - size + 1)
    left = generator.integers(rgb.shape[1] - size + 1)
    crop = rgb[top : top + size, left : left + size]
    return crop[:, ::-1] if generator.random() < 0.5 else crop


class CropSource:
    """Random crops of photos for the compression stage: `next_batch()` gives float32 [B, 3, crop, crop]."""

    def __init__(self, paths: list[Path], crop: int, seed: int) -> None:
        self.pictures = [read_rgb(path) for path in paths]
        self.crop = crop
        self.generator = np.random.default_rng(seed)

    def next_batch(self, batch: int) -> Tensor:
        chosen = self.generator.integers(len(self.pictures), size=batch)
        return torch.stack([to_tensor(random_crop(self.pictures[i], self.crop, self.generator)) for i in chosen])


class ScaleSource:
    """Whole-looking pictures at many sizes for the protection stage.

    A shield must work on the picture that a model sees, so pictures are not cropped to details: a square is cut out of
    the middle region and resized to a side drawn for the whole batch from `sides`.
    """

    def __init__(self, pictures: list[np.ndarray], sides: list[int], seed: int) -> None:
        self.pictures, self.sides = pictures, sides
        self.generator = np.random.default_rng(seed)

    def next_batch(self, pixels: int) -> Tensor:
        """float32 [B, 3, side, side] with B * side^2 at most `pixels` (and at least one picture)."""
        side = int(self.generator.choice(self.sides))
        # a large side needs large pictures: enlarged ones would teach it smooth content only
        able = [i for i, rgb in enumerate(self.pictures) if min(rgb.shape[:2]) >= 0.85 * side] or [0]
        batch = max(1, pixels // side**2)
        return torch.stack([self._square(self.pictures[self.generator.choice(able)], side) for _ in range(batch)])

    def _square(self, rgb: np.ndarray, side: int) -> Tensor:
        short = min(rgb.shape[:2])
        square = random_crop(rgb, int(short * self.generator.uniform(0.8, 1.0)), self.generator)
        picture = to_tensor(square)[None]
        return F.interpolate(picture, (side, side), mode="bicubic", antialias=True, align_corners=False)[0].clamp(0, 1)
