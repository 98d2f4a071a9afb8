"""Image.open on .psic files."""

import copy
import io
import pickle
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from psic_cli import codec, pillow_plugin, zoo
from psic_cli.bitstream.container import Container, Section, pack, unpack
from psic_cli.picture import Picture
from tests.cli.run import child_environment

SECRET = bytes(range(32))
RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


@pytest.fixture
def model(tiny_models):
    return zoo.load("tiny", device="cpu")


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_the_protected_picture_is_opened(model, grey, with_alpha):
    alpha = RGB[..., 0].copy() if with_alpha else None
    data = codec.encode(Picture(RGB, alpha, grey, icc=b"profile"), SECRET, model=model)
    image = opened(data)
    expected = codec.decode(data)
    assert (image.format, image.size) == ("PSIC", (30, 20))
    assert image.mode == ("L" if grey else "RGB") + ("A" if with_alpha else "")
    assert image.info["icc_profile"] == b"profile"
    array = np.asarray(image)
    assert (
        (array[..., :3] == expected.rgb).all()
        if not grey
        else (array.reshape(20, 30, -1)[..., 0] == expected.rgb[..., 0]).all()
    )
    if with_alpha:
        assert (array[..., -1] == alpha).all()


def test_it_behaves_like_any_picture(model, tmp_path):
    path = tmp_path / "x.psic"
    path.write_bytes(codec.encode(Picture(RGB), SECRET, model=model))
    with Image.open(path) as image:
        image.load()
        assert image.resize((5, 5)).size == (5, 5)
        image.save(tmp_path / "x.png")
        assert image.copy().getpixel((0, 0)) == Image.open(tmp_path / "x.png").getpixel((0, 0))
    image = Image.open(path)
    image.thumbnail((10, 10))
    assert image.size == (10, 7)
    assert Image.registered_extensions()[".psic"] == "PSIC"
    assert Image.MIME["PSIC"] == "image/x-psic"


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))])
def test_a_copied_or_pickled_picture_keeps_its_pixels(model, duplicate, is_loaded):
    image = opened(codec.encode(Picture(RGB, RGB[..., 0].copy(), icc=b"profile"), SECRET, model=model))
    if is_loaded:
        image.load()
    twin = duplicate(image)
    assert twin.tobytes() == image.tobytes()
    assert twin.resize((5, 5)).mode == "RGBA"
    assert twin.info == image.info


def test_metadata_does_not_come_with_the_protected_version(model):
    picture = Picture(RGB, exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=b"<x/>")
    for secret in (SECRET, None):
        assert not {"exif", "xmp"} & set(opened(codec.encode(picture, secret, model=model)).info)


def test_damage_and_missing_models_are_errors_that_pillow_users_know(model, monkeypatch, tmp_path):
    data = codec.encode(Picture(RGB), SECRET, model=model)
    with pytest.raises(OSError, match="damaged"):
        opened(data[:-1])
    container = unpack(data)
    bomb = {**container.sections, Section.ICC: b"\x09" + zlib.compress(bytes(10**6))}
    with pytest.raises(OSError, match="colour profile"):
        opened(pack(Container(container.header, bomb)))
    with pytest.raises(UnidentifiedImageError):
        opened(b"?" + data)
    image = opened(data)
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path))
    with pytest.raises(OSError, match="tiny"):
        image.load()


def test_registering_twice_changes_nothing():
    before = list(Image.ID)
    pillow_plugin.register()
    assert before == Image.ID


def test_opening_without_looking_at_pixels_loads_no_torch(model, tmp_path):
    path = tmp_path / "x.psic"
    path.write_bytes(codec.encode(Picture(RGB), SECRET, model=model))
    script = (
        "import sys; from PIL import Image; from psic_cli import pillow_plugin;"
        f"assert Image.open({str(path)!r}).size == (30, 20); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=child_environment(), timeout=300)
