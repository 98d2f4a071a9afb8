"""Pictures and a stand-in for a vision-language model, small enough for every test."""

from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli import zoo

T = TypeVar("T")


def known(value: T | None) -> T:
    """A figure that must not be missing."""
    assert value is not None
    return value


class ColourModel:
    """Sees nothing but the mean colour of a picture, and reads nothing but colour words."""

    name = "colours"
    words = ("red", "green", "blue", "grey")

    def encode_image(self, pictures):
        colours = pictures.mean((2, 3))
        return self._embed(colours / colours.norm(dim=1, keepdim=True))

    def encode_text(self, texts):
        colours = {"red": [1, 0, 0], "green": [0, 1, 0], "blue": [0, 0, 1], "grey": [0.58, 0.58, 0.58]}
        rows = [next(value for word, value in colours.items() if word in text) for text in texts]
        return self._embed(torch.tensor(rows).float())

    def _embed(self, colours):
        return torch.nn.functional.normalize(colours, dim=1)


@pytest.fixture
def colour_model():
    return ColourModel()


@pytest.fixture
def tiny_model(tiny_models):
    return zoo.load("tiny", device="cpu")


def picture(seed=0, width=48, height=32, tint=(0, 0, 0)):
    """A smooth picture, uint8 [H, W, 3]; tint is added to it."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(60, 160, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + np.array(tint), 0, 255).astype(np.uint8)


def noisy(rgb, spread, seed=1):
    """A picture with Gaussian noise of this standard deviation, in levels."""
    noise = np.random.default_rng(seed).normal(0, spread, rgb.shape)
    return np.clip(rgb + noise, 0, 255).round().astype(np.uint8)


def save(path, rgb):
    """Write a picture, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return path


@pytest.fixture
def coloured(tmp_path):
    """Four pictures of four colours with labels.csv, classes.txt and captions.jsonl beside them."""
    tints = {"red": (90, -60, -60), "green": (-60, 90, -60), "blue": (-60, -60, 90), "grey": (0, 0, 0)}
    for number, (name, tint) in enumerate(tints.items()):
        save(tmp_path / f"{name}.png", picture(number, tint=tint))
    rows = [f"{name}.png,{number}" for number, name in enumerate(tints)]
    (tmp_path / "labels.csv").write_text("image,class_index\n" + "\n".join(rows) + "\n")
    (tmp_path / "classes.txt").write_text("red, crimson\ngreen\nblue\ngrey\n")
    lines = [f'{{"split": "test", "image": "{n}.png", "captions": ["a {n} thing", "{n}"]}}' for n in tints]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path
