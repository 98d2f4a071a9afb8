"""Pictures for a page: chosen from all over, coded for real, shrunk if they are large."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from psic_cli import zoo
from psic_cli.errors import InputError
from psic_cli.pages.showing import choose, show


@pytest.fixture
def tiny_model(tiny_models):
    return zoo.load("tiny", device="cpu")


def saved(path, width, height):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def test_a_few_are_chosen_from_all_over():
    assert choose(range(24), 4) == [0, 6, 12, 18]
    assert choose(range(3), 4) == [0, 1, 2]
    assert choose(range(5), 0) == []


def test_a_picture_is_shown_in_its_versions(tmp_path, tiny_model):
    picture = show(saved(tmp_path / "a.png", 70, 50), "a.png", tiny_model, 50)
    assert (picture.name, picture.width, picture.height, picture.quality) == ("a.png", 70, 50, 50)
    assert list(picture.versions) == ["original", "full", "protected"]
    assert len(set(picture.versions.values())) == 3
    assert picture.psnr["full"] > 5
    assert picture.bpp > 0


def test_a_large_picture_is_shrunk(tmp_path, tiny_model):
    picture = show(saved(tmp_path / "a.png", 1200, 64), "a.png", tiny_model, 1)
    assert (picture.width, picture.height) == (1200, 64)
    for uri in picture.versions.values():
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as small:
            assert small.size == (1024, 55)


def test_a_picture_that_cannot_be_read_is_named(tmp_path, tiny_model):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.png"):
        show(tmp_path / "bad.png", "bad.png", tiny_model, 50)
