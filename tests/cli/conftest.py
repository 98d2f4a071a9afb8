"""Fixtures of the command-line tests: a folder to work in, small pictures, keys, and the tiny model."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psic_cli import keys

# Loading torch's thread pools for pictures of a few pixels costs more than it gives.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def folder(tmp_path: Path, tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with the tiny model installed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def png() -> bytes:
    """A picture of 40 x 24 pixels."""
    return picture_bytes()


@pytest.fixture
def key(folder: Path) -> Path:
    """A key file."""
    path = folder / "key.bin"
    keys.create_key_file(path)
    return path


@pytest.fixture
def photo(folder: Path, png: bytes) -> Path:
    """photo.png in the current folder."""
    path = folder / "photo.png"
    path.write_bytes(png)
    return path


@pytest.fixture
def sealed(folder: Path, photo: Path, key: Path) -> Path:
    """photo.psic in the current folder, sealed with `key`."""
    return encoded(folder / "photo.psic", photo.read_bytes(), keys.read_key_file(key))


@pytest.fixture
def unsealed(folder: Path, png: bytes) -> Path:
    """open.psic in the current folder, which anybody may decode in full."""
    return encoded(folder / "open.psic", png, None)


def picture_bytes(seed: int = 0, kind: str = "PNG", width: int = 40, height: int = 24, **options: object) -> bytes:
    """A smooth picture as a file."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    stream = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(stream, kind, **options)
    return stream.getvalue()


def encoded(path: Path, data: bytes, secret: bytes | None) -> Path:
    """A .psic file made by the codec itself, without the command line."""
    from psic_cli import codec, zoo
    from psic_cli.shell.pictures import read_picture

    path.write_bytes(codec.encode(read_picture(data), secret, model=zoo.load("tiny", device="cpu")))
    return path
