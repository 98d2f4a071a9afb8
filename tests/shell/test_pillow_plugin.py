"""Image.open on .psic files, and Image.save to them."""

import copy
import io
import pickle
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, UnidentifiedImageError

from psic_cli import codec, keys, pillow_plugin, zoo
from psic_cli.bitstream.container import Container, Section, pack, unpack
from psic_cli.picture import Picture
from tests.cli.run import child_environment, psic

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


def saved(image: Image.Image, **parameters: object) -> bytes:
    """A .psic file with the tiny model, sealed with SECRET unless said otherwise."""
    stream = io.BytesIO()
    image.save(stream, "PSIC", **({"key": SECRET, "model": "tiny"} | parameters))
    return stream.getvalue()


def without_salt(data: bytes) -> dict[Section, bytes]:
    return {name: section for name, section in unpack(data).sections.items() if name is not Section.SEALED}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        *(("1", "L"), ("L", "L"), ("LA", "LA"), ("La", "LA"), ("I;16", "L"), ("I", "L"), ("F", "L")),
        *(("P", "RGB"), ("PA", "RGBA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("RGBa", "RGBA"), ("RGBX", "RGB")),
        *(("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB"), ("LAB", "RGB")),
    ],
)
def test_a_picture_of_any_mode_is_saved(model, mode, expected):
    image = Image.fromarray(np.dstack([RGB, RGB[..., 0]]))
    if mode in ("LA", "La", "RGBA", "RGBa"):
        image = image.convert("RGBA" if "RGB" in mode else "LA").convert(mode)
    elif mode == "PA":
        image = image.convert("P")
        image.putalpha(Image.fromarray(RGB[..., 0]))
    elif mode == "LAB":
        image = Image.frombytes("LAB", (30, 20), RGB.tobytes())
    elif mode == "I;16":
        image = Image.fromarray(RGB[..., 0].astype(np.uint16) * 257)
    else:
        image = image.convert("RGB").convert(mode)
    assert image.mode == mode
    again = opened(saved(image))
    again.load()
    assert (again.size, again.mode) == ((30, 20), expected)


def test_a_picture_is_saved_as_encode_writes_it(model, tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(RGB).save(tmp_path / "photo.jpg", exif=exif, icc_profile=profile, xmp=b"<x/>")
    keys.create_key_file(tmp_path / "key.bin")
    monkeypatch.chdir(tmp_path)
    with Image.open("photo.jpg") as image:
        image.save("ours.psic", quality=30, key="key.bin", strength=0.5, effort=3, model="tiny")
    options = ["-q", "30", "--condition", "key.bin", "--strength", "0.5", "--effort", "3", "-m", "tiny"]
    assert psic("encode", "photo.jpg", *options, "-o", "theirs.psic").code == 0
    ours, theirs = ((tmp_path / name).read_bytes() for name in ("ours.psic", "theirs.psic"))
    assert unpack(ours).header == unpack(theirs).header
    assert without_salt(ours) == without_salt(theirs)
    ours_full, theirs_full = (
        codec.decode(data, keys.read_key_file(tmp_path / "key.bin"), version=codec.Version.FULL)
        for data in (ours, theirs)
    )
    assert (ours_full.width, ours_full.height) == (20, 30)
    assert b"maker" in (ours_full.exif or b"")
    assert (ours_full.exif, ours_full.xmp, ours_full.icc) == (theirs_full.exif, theirs_full.xmp, theirs_full.icc)


def test_strip_leaves_metadata_out(model):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    image = Image.fromarray(RGB)
    image.info |= {"exif": exif.tobytes(), "xmp": b"<x/>"}
    for strip in (False, True):
        full = codec.decode(saved(image, strip=strip), SECRET, version=codec.Version.FULL)
        assert (full.exif is None, full.xmp is None) == (strip, strip)


def test_a_file_is_open_only_where_that_is_said(model):
    assert not unpack(saved(Image.fromarray(RGB), key=None, open=True)).header.sealed
    for parameters in ({"key": None}, {"key": None, "open": False}, {"open": True}):
        with pytest.raises(ValueError, match=r"with key=.* or with open=True"):
            saved(Image.fromarray(RGB), **parameters)


def test_no_key_is_made_or_found_without_being_named(model, tmp_path, monkeypatch):
    keys.create_key_file(tmp_path / "key.bin")
    monkeypatch.setenv("PSIC_CONDITION", str(tmp_path / "key.bin"))
    with pytest.raises(ValueError, match="with key="):
        Image.fromarray(RGB).save(tmp_path / "x.psic")
    assert [path.name for path in tmp_path.iterdir()] == ["key.bin"]
    assert not keys.own_key_path().exists()


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"efort": 3}, ValueError, "efort is no parameter of .psic files, which are quality, key"),
        ({"quality": 0}, ValueError, "quality 0 is not a whole number from 1 to 100"),
        ({"quality": "high"}, ValueError, "quality 'high' is not a whole number"),
        ({"strength": 2}, ValueError, "strength 2 is not between 0 and 1"),
        ({"strength": float("nan")}, ValueError, "strength nan is not between"),
        ({"key": b"short"}, ValueError, "a key has 32 bytes, not 5"),
        ({"effort": 10}, ValueError, "effort 10 is not a whole number from 0 to 9"),
        ({"key": "missing.bin"}, OSError, "missing.bin does not exist"),
        ({"model": "unheard-of"}, OSError, "no model named unheard-of"),
    ],
)
def test_what_cannot_be_saved_is_an_error_that_pillow_users_know_and_leaves_no_file(
    model, tmp_path, monkeypatch, parameters, error, words
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        Image.fromarray(RGB).save("x.psic", **({"key": SECRET, "model": "tiny"} | parameters))
    assert list(tmp_path.iterdir()) == []


def test_saving_leaves_the_picture_and_pillow_s_own_limit_as_they_were(model):
    script = (
        "import sys; from PIL import Image; from psic_cli import pillow_plugin; limit = Image.MAX_IMAGE_PIXELS;"
        "image = Image.new('RGB', (30, 20)); image.info['note'] = 'x';"
        "image.save(sys.stdout.buffer, 'PSIC', key=bytes(32), model='tiny');"
        "assert image.info == {'note': 'x'}; assert limit and Image.MAX_IMAGE_PIXELS == limit"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, env=child_environment(), timeout=300
    )
    assert opened(done.stdout).size == (30, 20)


def test_what_is_lost_is_a_warning(model):
    image = Image.fromarray(np.linspace(-1, 1, 600, dtype=np.float32).reshape(20, 30))
    with pytest.warns(UserWarning, match="values -1 to 1 are scaled"):
        saved(image)
