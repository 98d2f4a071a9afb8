"""The sample pictures: every one documented, and the made ones really made by the committed script."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SAMPLES = Path(__file__).parent.parent / "sample_images"
MADE_LOSSLESS = ["one_pixel", "odd_size", "grey", "grey_16bit", "alpha", "grey_alpha", "palette_transparent"]
MADE_LOSSY = ["cmyk", "profile", "rotated_gps"]


@pytest.fixture(scope="module")
def made_again(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    runpy.run_path(str(SAMPLES / "make_odd_cases.py"))["make"](folder)
    return folder


def test_the_readme_names_every_picture_with_its_size_and_nothing_else():
    rows = [
        line.split("|") for line in (SAMPLES / "README.md").read_text("utf-8").splitlines() if line.startswith("| `")
    ]
    listed = {row[1].strip(" `"): row[2].split(",")[0].strip() for row in rows}
    present = {}
    for path in SAMPLES.iterdir():
        if path.suffix in {".png", ".jpg"}:
            with Image.open(path) as picture:
                present[path.name] = f"{picture.width} x {picture.height}"
    assert listed == present


def test_the_script_makes_all_the_odd_cases(made_again):
    names = {path.name for path in made_again.iterdir()}
    assert names == {f"{name}.png" for name in MADE_LOSSLESS} | {f"{name}.jpg" for name in MADE_LOSSY}


@pytest.mark.parametrize("name", MADE_LOSSLESS)
def test_the_script_makes_the_committed_pixels(made_again, name):
    with Image.open(SAMPLES / f"{name}.png") as committed, Image.open(made_again / f"{name}.png") as again:
        assert committed.mode == again.mode
        assert committed.info == again.info
        assert np.array_equal(np.array(committed.convert("RGBA")), np.array(again.convert("RGBA")))
        assert np.array_equal(np.array(committed), np.array(again))


@pytest.mark.parametrize("name", MADE_LOSSY)
def test_the_script_makes_the_committed_metadata(made_again, name):
    with Image.open(SAMPLES / f"{name}.jpg") as committed, Image.open(made_again / f"{name}.jpg") as again:
        assert (committed.mode, committed.size) == (again.mode, again.size)
        for item in ("exif", "xmp", "adobe_transform"):
            assert committed.info.get(item) == again.info.get(item)
        # The profile names the version of the library that wrote it, so only its presence is compared.
        assert ("icc_profile" in committed.info) == ("icc_profile" in again.info)


def test_the_rotated_sample_holds_a_position_in_exif_and_xmp():
    with Image.open(SAMPLES / "rotated_gps.jpg") as picture:
        assert picture.getexif()[0x0112] == 6
        assert picture.getexif().get_ifd(0x8825)[2] == (51, 28, 38)
        assert b"GPSLatitude" in picture.info["xmp"]
