"""Pictures for training: decoded once, kept in memory as uint8, cropped at random.

What leaves the processor is uint8: batches become floats, and are resized, on the device, and where that is a GPU the
next ones are cut out meanwhile. A held-out share (by a hash of the file name) is for validation only.
"""

from __future__ import annotations

import copy
import json
import math
import zlib
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from psic_cli.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
HELD_OUT_SHARE = 40  # one photo in so many is for validation
LARGE_EVERY = 8  # and one large photo in so many
# The most by which photos are shrunk and enlarged for the compression stage
SHRUNK, ENLARGED = 2.5, 1.25
RESIZED = 0.5  # share of the crops of photos that are not large
SMALLEST_SQUARE = 0.65  # of a photo's shorter side, for the conditions stage
# Share of the batches for the conditions stage that are not square, and how much longer their longer side is, at most
OBLONG, LONGER = 0.6, 1.6
UPRIGHT = 0.3  # share of those
TONED = 0.5  # share of the crops whose colours are changed, by at most these logarithms
GAIN, CHANNEL_GAIN, GAMMA, SATURATION = 0.2, 0.08, 0.25, 0.3


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


def read_photos(folders: list[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Photos uint8 [H, W, 3]: for training, and for validation. InputError if there are none at all."""
    paths = list_pictures(folders)
    return [read_rgb(p) for p in paths if not is_held_out(p)], [read_rgb(p) for p in paths if is_held_out(p)]


def read_large(folders: list[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Large photos uint8 [H, W, 3]: for training, and for validation. Both are empty without folders."""
    pictures = [read_rgb(path) for path in list_pictures(folders)] if folders else []
    training = [rgb for number, rgb in enumerate(pictures) if number % LARGE_EVERY != LARGE_EVERY - 1]
    return training, pictures[LARGE_EVERY - 1 :: LARGE_EVERY]


def read_pairs(path: Path | str, split: str) -> list[Pair]:
    """Image-text pairs of one split of a captions.jsonl. Empty without a path ("")."""
    if not path:
        return []
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Pair(read_rgb(Path(path).parent / row["image"]), row["captions"]) for row in rows if row["split"] == split]


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


def turned(rgb: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A square [S, S, 3], upside down half of the time, and its axes exchanged half of the time."""
    if generator.random() < 0.5:
        rgb = rgb[::-1]
    return rgb.transpose(1, 0, 2) if generator.random() < 0.5 else rgb


def toned(rgb: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """uint8 [H, W, 3] with another saturation, brightness, white balance and gamma."""
    gain = generator.uniform(-GAIN, GAIN) + generator.uniform(-CHANNEL_GAIN, CHANNEL_GAIN, 3)
    gamma, saturation = np.exp([generator.uniform(-GAMMA, GAMMA), generator.uniform(-SATURATION, SATURATION)])
    grey = rgb.mean(2, keepdims=True, dtype=np.float32)
    coloured = (grey + np.float32(saturation) * (rgb - grey)).clip(0, 255).astype(np.uint8)
    curves = 255 * (np.exp(gain) * np.arange(256)[:, None] / 255).clip(0, 1) ** gamma  # [256, 3]
    table = curves.round().astype(np.uint8)
    return np.stack([table[coloured[..., channel], channel] for channel in range(3)], axis=2)


def large_enough(pictures: list[np.ndarray], side: int) -> list[int]:
    """Numbers of the pictures for squares of `side` pixels: much enlarged ones would teach smooth content only."""
    return [number for number, rgb in enumerate(pictures) if min(rgb.shape[:2]) >= 0.85 * side]


@dataclass(frozen=True)
class Cut:
    """What was drawn for a batch."""

    numbers: list[int]  # of the pictures
    pieces: list[np.ndarray]  # uint8 squares
    size: tuple[int, int]  # height and width in pixels, that they are to have


@dataclass(frozen=True)
class Batch:
    """Pictures float32 [B, 3, H, W] in 0..1, and the number of the picture that each is from."""

    x: Tensor
    numbers: list[int]


def to_device(rgb: np.ndarray, device: str) -> Tensor:
    """uint8 [H, W, 3] -> float32 [3, H, W] in 0..1 on a device; only bytes travel there."""
    pixels = torch.from_numpy(np.ascontiguousarray(rgb))
    if device != "cpu":
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    return pixels.permute(2, 0, 1).float() / 255.0


class Source(ABC):
    """Batches cut out of pictures at random. On a GPU the next batch is cut while the last one is trained on; the order
    of batches is the same. A source gives batches of one size.

    Args:
        pictures: uint8 [H, W, 3].
        device: where batches go.
    """

    def __init__(self, pictures: list[np.ndarray], seed: int, device: str) -> None:
        self.pictures, self.device = pictures, device
        self.generator = np.random.default_rng(seed)
        self._thread = ThreadPoolExecutor(1) if device != "cpu" else None
        self._next: tuple[int, dict[str, Any], Future[Cut]] | None = None

    @abstractmethod
    def cut(self, size: int) -> Cut:
        """Draw a batch. size: what `next_batch` was asked for."""

    def _take(self, size: int) -> Cut:
        if self._thread is None:
            return self.cut(size)
        if self._next is None or self._next[0] != size:
            self.load_state(self.state())  # forget what was drawn for another size
            self._next = self._ahead(size)
        taken = self._next[2].result()
        self._next = self._ahead(size)
        return taken

    def _ahead(self, size: int) -> tuple[int, dict[str, Any], Future[Cut]]:
        assert self._thread is not None
        return size, _state(self.generator), self._thread.submit(self.cut, size)

    def state(self) -> dict[str, Any]:
        """Of the random numbers, as if nothing had been cut ahead."""
        return dict(self._next[1]) if self._next else _state(self.generator)

    def load_state(self, state: dict[str, Any]) -> None:
        if self._next is not None:
            self._next[2].result()
            self._next = None
        self.generator.bit_generator.state = state


def _state(generator: np.random.Generator) -> dict[str, Any]:
    return copy.deepcopy(dict(generator.bit_generator.state))


class CropSource(Source):
    """Random crops of photos for the compression stage, of a size drawn for the whole batch.

    An entropy network that has only seen small crops reads large pictures wrongly. Batches hold about the same number
    of pixels. What is more than twice as large as a crop is shrunk first, by a random factor: at their own size large
    photos are smoother than what people compress. Pictures smaller than a crop are not enlarged for it, if there are
    others. The larger a picture, the more often it is drawn: it has more to show before it repeats itself.

    Crops are turned, and many are resized or get other colours: a few thousand pictures have more to show that way.
    """

    def __init__(self, pictures: list[np.ndarray], crops: list[int], seed: int, device: str = "cpu") -> None:
        super().__init__(pictures, seed, device)
        self.crops = crops
        sides = np.array([math.sqrt(rgb.shape[0] * rgb.shape[1]) for rgb in pictures])
        self.chances = {}
        for crop in crops:
            able = np.array([min(rgb.shape[:2]) >= crop for rgb in pictures])
            chances = sides * able if able.any() else sides
            self.chances[crop] = chances / chances.sum()

    def cut(self, size: int) -> Cut:
        crop = int(self.generator.choice(self.crops))
        count = max(1, size // crop**2)
        chosen = self.generator.choice(len(self.pictures), size=count, p=self.chances[crop]).tolist()
        return Cut(chosen, [self._crop(self.pictures[i], crop) for i in chosen], (crop, crop))

    def _crop(self, rgb: np.ndarray, crop: int) -> np.ndarray:
        piece = turned(self._piece(rgb, crop), self.generator)
        return toned(piece, self.generator) if self.generator.random() < TONED else piece

    def _piece(self, rgb: np.ndarray, crop: int) -> np.ndarray:
        short, smallest = min(rgb.shape[:2]), 1.0
        if short < 2 * crop:
            if short < crop or self.generator.random() >= RESIZED:
                return random_crop(rgb, crop, self.generator)
            smallest = 1 / ENLARGED
        wider = int(crop * self.generator.uniform(smallest, min(SHRUNK, short / crop)))  # gets the crop's size
        piece = Image.fromarray(random_crop(rgb, wider, self.generator))
        return np.array(piece.resize((crop, crop), Image.Resampling.BICUBIC))

    def next_batch(self, pixels: int) -> Tensor:
        """Float32 [B, 3, crop, crop] in 0..1: as many crops as `pixels` allow, and at least one."""
        return torch.stack([to_device(piece, self.device) for piece in self._take(pixels).pieces])


class ScaleSource(Source):
    """Whole-looking pictures at many sizes for the conditions stage.

    A shield must work on the picture that a model sees, so pictures are not cropped to details: a square is cut out of
    the middle region and resized to a size drawn for the whole batch. Batches hold about the same number of pixels. A
    size so large that one picture has more is drawn less often, so that on average a step costs the same. Oblong
    sizes stretch the square: pictures with captions may have been squashed to one.

    sides: shorter sides in pixels. share_toned: of the pictures, whose colours are changed. share_oblong: of the
    batches.
    """

    def __init__(
        self,
        pictures: list[np.ndarray],
        sides: list[int],
        seed: int,
        device: str = "cpu",
        share_toned: float = 0.0,
        share_oblong: float = 0.0,
    ) -> None:
        super().__init__(pictures, seed, device)
        self.sides, self.share_toned, self.share_oblong = sides, share_toned, share_oblong
        largest = max(range(len(pictures)), key=lambda number: min(pictures[number].shape[:2]))
        self.able = {side: large_enough(pictures, side) or [largest] for side in sides}

    def cut(self, size: int) -> Cut:
        draw = self.generator
        chances = np.array([min(1.0, size / side**2) for side in self.sides])
        side = int(draw.choice(self.sides, p=chances / chances.sum()))
        height, width = self._oblong(side) if draw.random() < self.share_oblong else (side, side)
        chosen = draw.choice(self.able[side], size=max(1, size // (height * width))).tolist()
        return Cut(chosen, [self._square(self.pictures[i]) for i in chosen], (height, width))

    def _oblong(self, side: int) -> tuple[int, int]:
        """Height and width, the shorter one is `side`."""
        longer = round(side * self.generator.uniform(1.0, LONGER))
        return (longer, side) if self.generator.random() < UPRIGHT else (side, longer)

    def _square(self, rgb: np.ndarray) -> np.ndarray:
        side = max(1, int(min(rgb.shape[:2]) * self.generator.uniform(SMALLEST_SQUARE, 1.0)))
        square = random_crop(rgb, side, self.generator)
        return toned(square, self.generator) if self.generator.random() < self.share_toned else square

    def next_batch(self, pixels: int) -> Batch:
        """As many pictures as `pixels` allow, and at least one."""
        cut = self._take(pixels)
        resized = [
            F.interpolate(
                to_device(rgb, self.device)[None], cut.size, mode="bicubic", antialias=True, align_corners=False
            )
            for rgb in cut.pieces
        ]
        return Batch(torch.cat(resized).clamp(0, 1), cut.numbers)
