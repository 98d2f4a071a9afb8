"""Pictures for training: decoded once, kept in memory as uint8, cropped at random.

A batch depends on the seed and on its number alone: processes beside training cut out the next ones, as many as are
wished for, and a run that goes on needs to know no more than a number. What they hand over is uint8: batches become
floats, and are resized, on the device. A held-out share (by a hash of the file name) is for validation only.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import signal
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from psic_cli.errors import InputError
from psic_cli.training.drawings import drawing

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
HELD_OUT_SHARE = 40  # one photo in so many is for validation
LARGE_EVERY = 8  # and one large photo in so many
# The most by which photos are shrunk and enlarged for the compression stage
SHRUNK, ENLARGED = 2.5, 1.25
LINGER = 60  # seconds that a process which cuts batches goes on after it was told to end
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
    """uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in 0..1 on a device, channels last; only bytes travel there."""
    pixels = torch.from_numpy(np.ascontiguousarray(rgb))
    if device != "cpu":
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    return pixels.movedim(-1, -3).float() / 255.0


class Source(Dataset[Cut], ABC):
    """Batches cut out of pictures at random.

    Args:
        pictures: uint8 [H, W, 3].
        device: where batches go.
        workers: processes that cut them; 0: this one does.
    """

    def __init__(self, pictures: list[np.ndarray], seed: int, device: str, workers: int) -> None:
        self.pictures, self.seed, self.device, self.workers = pictures, seed, device, workers
        self.number = 0  # of the next batch
        self._cuts: Iterator[Cut] | None = None

    @abstractmethod
    def cut(self, draw: np.random.Generator) -> Cut:
        """Draw a batch."""

    def __getitem__(self, number: int) -> Cut:
        return self.cut(np.random.default_rng([self.seed, number]))

    def _take(self) -> Cut:
        if self._cuts is None:
            loader = DataLoader(
                copy.copy(self),  # without the iterator: it ends its processes when nothing refers to it any more
                batch_size=None,
                sampler=itertools.count(self.number),
                num_workers=self.workers,
                collate_fn=_as_it_is,
                worker_init_fn=_outlive_signals,
                generator=torch.Generator(),  # not the common one, which a run that goes on finds as it was
            )
            self._cuts = iter(loader)
        self.number += 1
        return next(self._cuts)

    def close(self) -> None:
        """End the processes."""
        self._cuts = None

    def state(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state(self, state: dict[str, Any]) -> None:
        self.number, self._cuts = state["number"], None


def _as_it_is(cut: Any) -> Any:
    """In place of the tensors that a loader makes of what it hands over."""
    return cut


def _outlive_signals(_: int) -> None:
    """Who stops a run stops all its processes at once, but the last step still wants its batch. A worker ends when the
    run lets it, or some time after it was told to.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LINGER))


class CropSource(Source):
    """Random crops for the first stages, all of one size.

    What is more than twice as large as a crop is shrunk first, by a random factor: at their own size large photos are
    smoother than what people compress. Pictures much smaller than a crop are not enlarged for it, if there are others.
    The larger a picture, the more often it is drawn: it has more to show before it repeats itself.

    Crops are turned, and many are resized or get other colours: a few thousand pictures have more to show that way.

    batch: crops in one. drawn: the share of them that are drawings instead (drawings.py).
    """

    def __init__(
        self,
        pictures: list[np.ndarray],
        crop: int,
        batch: int,
        seed: int,
        device: str = "cpu",
        workers: int = 0,
        drawn: float = 0.0,
    ) -> None:
        super().__init__(pictures, seed, device, workers)
        self.crop, self.batch, self.drawn = crop, batch, drawn
        sides = np.array([math.sqrt(rgb.shape[0] * rgb.shape[1]) for rgb in pictures])
        able = np.array([min(rgb.shape[:2]) >= crop / ENLARGED for rgb in pictures])
        chances = sides * able if able.any() else sides
        self.chances = chances / chances.sum()

    def cut(self, draw: np.random.Generator) -> Cut:
        chosen = draw.choice(len(self.pictures), size=self.batch, p=self.chances).tolist()
        return Cut(chosen, [self._crop(self.pictures[i], draw) for i in chosen], (self.crop, self.crop))

    def _crop(self, rgb: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        if draw.random() < self.drawn:
            return drawing(self.crop, draw)
        piece = turned(self._piece(rgb, draw), draw)
        return toned(piece, draw) if draw.random() < TONED else piece

    def _piece(self, rgb: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        crop, short, smallest = self.crop, min(rgb.shape[:2]), 1.0
        if short < 2 * crop:
            if short < crop or draw.random() >= RESIZED:
                return random_crop(rgb, crop, draw)
            smallest = 1 / ENLARGED
        wider = int(crop * draw.uniform(smallest, min(SHRUNK, short / crop)))  # gets the crop's size
        piece = Image.fromarray(random_crop(rgb, wider, draw))
        return np.array(piece.resize((crop, crop), Image.Resampling.BICUBIC))

    def next_batch(self) -> Tensor:
        """Float32 [B, 3, crop, crop] in 0..1, channels last."""
        return to_device(np.stack(self._take().pieces), self.device)


class ScaleSource(Source):
    """Whole-looking pictures at many sizes for the conditions stage.

    A shield must work on the picture that a model sees, so pictures are not cropped to details: a square is cut out of
    the middle region and resized to a size drawn for the whole batch. Batches hold about the same number of pixels. A
    size so large that one picture has more is drawn less often, so that on average a step costs the same. Oblong
    sizes stretch the square: pictures with captions may have been squashed to one.

    sides: shorter sides in pixels. pixels: of a batch, which holds as many pictures as they allow, and at least one.
    share_toned: of the pictures, whose colours are changed. share_oblong: of the batches.
    """

    def __init__(
        self,
        pictures: list[np.ndarray],
        sides: list[int],
        pixels: int,
        seed: int,
        device: str = "cpu",
        workers: int = 0,
        share_toned: float = 0.0,
        share_oblong: float = 0.0,
    ) -> None:
        super().__init__(pictures, seed, device, workers)
        self.sides, self.pixels, self.share_toned, self.share_oblong = sides, pixels, share_toned, share_oblong
        largest = max(range(len(pictures)), key=lambda number: min(pictures[number].shape[:2]))
        self.able = {side: large_enough(pictures, side) or [largest] for side in sides}

    def cut(self, draw: np.random.Generator) -> Cut:
        chances = np.array([min(1.0, self.pixels / side**2) for side in self.sides])
        side = int(draw.choice(self.sides, p=chances / chances.sum()))
        height, width = self._oblong(side, draw) if draw.random() < self.share_oblong else (side, side)
        chosen = draw.choice(self.able[side], size=max(1, self.pixels // (height * width))).tolist()
        return Cut(chosen, [self._square(self.pictures[i], draw) for i in chosen], (height, width))

    def _oblong(self, side: int, draw: np.random.Generator) -> tuple[int, int]:
        """Height and width, the shorter one is `side`."""
        longer = round(side * draw.uniform(1.0, LONGER))
        return (longer, side) if draw.random() < UPRIGHT else (side, longer)

    def _square(self, rgb: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        side = max(1, int(min(rgb.shape[:2]) * draw.uniform(SMALLEST_SQUARE, 1.0)))
        square = random_crop(rgb, side, draw)
        return toned(square, draw) if draw.random() < self.share_toned else square

    def next_batch(self) -> Batch:
        cut = self._take()
        resized = [
            F.interpolate(
                to_device(rgb, self.device)[None], cut.size, mode="bicubic", antialias=True, align_corners=False
            )
            for rgb in cut.pieces
        ]
        return Batch(torch.cat(resized).clamp(0, 1), cut.numbers)
