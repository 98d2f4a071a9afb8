"""Pictures that other tools stumble over, from file to .psic and back."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psic_cli import keys
from psic_cli.icc import standard_srgb
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import ROOT, psic

SAMPLES = ROOT / "sample_images"
CASES = (
    "alpha.png",
    "cmyk.jpg",
    "grey.png",
    "grey_16bit.png",
    "grey_alpha.png",
    "odd_size.png",
    "one_pixel.png",
    "palette_transparent.png",
    "profile.jpg",
    "rotated_gps.jpg",
)


@pytest.mark.parametrize("name", CASES)
def test_sample_pictures_survive_the_round_trip(folder, name):
    assert psic("encode", "-m", "tiny", "--open", "-q", "95", SAMPLES / name, "-o", "x.psic").code == 0
    assert psic("decode", "--full", "x.psic", "-o", "x.png").code == 0
    source, back = Image.open(SAMPLES / name), Image.open("x.png")
    turned = source.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    assert back.size == (source.size[::-1] if turned else source.size)
    assert back.getexif().get(0x0112, 1) == 1
    assert back.has_transparency_data == source.has_transparency_data
    if back.has_transparency_data:
        assert (np.asarray(back.convert("RGBA"))[..., 3] == np.asarray(source.convert("RGBA"))[..., 3]).all()
    grey = source.mode in ("L", "LA", "1") or source.mode.startswith("I")
    assert back.mode.startswith("L") == grey
    if source.mode != "CMYK":
        is_srgb = name == "profile.jpg"
        assert back.info.get("icc_profile") == (standard_srgb() if is_srgb else source.info.get("icc_profile"))


def test_metadata_needs_the_key_and_strip_drops_it(folder, key):
    source = SAMPLES / "rotated_gps.jpg"
    assert psic("encode", "-m", "tiny", "--condition", key, source, "-o", "kept.psic").code == 0
    assert psic("encode", "-m", "tiny", "--condition", key, "--strip", source, "-o", "stripped.psic").code == 0
    found = {}
    for name, arguments in {
        "protected": ["kept.psic"],
        "full": ["kept.psic", "--condition", key],
        "stripped": ["stripped.psic", "--condition", key],
    }.items():
        for format_name in ("png", "jpg", "webp"):
            data = psic("decode", *arguments, "-o", "-", "--format", format_name)
            found[name, format_name] = dict(Image.open(io.BytesIO(data)).getexif().get_ifd(0x8825))
    original = dict(Image.open(source).getexif().get_ifd(0x8825))
    assert original
    for (name, _), gps in found.items():
        assert gps == (original if name == "full" else {})


def test_what_a_picture_loses_is_said(folder):
    frames = [Image.open(io.BytesIO(picture_bytes(seed))).convert("P") for seed in (1, 2)]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    result = psic("encode", "-m", "tiny", "--open", "film.gif")
    assert result.code == 0
    assert "psic: warning: film.gif: only the first of 2 frames is kept" in result.stderr
    assert psic("encode", "-m", "tiny", "--open", SAMPLES / "alpha.png", "-o", "x.psic").code == 0
    result = psic("decode", "x.psic", "-o", "x.jpg")
    assert result.code == 0
    assert "laid on white" in result.stderr


def metadata_in(*arguments: object) -> tuple[bool, bool]:
    """Whether the picture that a decode writes has a GPS position, and XMP."""
    back = Image.open(io.BytesIO(psic("decode", *map(str, arguments), "-o", "-")))
    return bool(back.getexif().get_ifd(0x8825)), "xmp" in back.info


def test_metadata_of_an_open_file_comes_with_the_protected_version_only_if_asked(folder):
    assert psic("encode", "-m", "tiny", "--open", SAMPLES / "rotated_gps.jpg", "-o", "x.psic").code == 0
    assert not keys.own_key_path().exists()
    assert metadata_in("x.psic") == (False, False)
    assert metadata_in("x.psic", "--metadata") == (True, True)
    assert metadata_in("x.psic", "--full") == (True, True)
    assert metadata_in("x.psic", "--for", "machine") == (True, True)
    for version in ([], ["--full"], ["--for", "machine"]):
        assert metadata_in("x.psic", *version, "--strip") == (False, False)


def test_metadata_of_a_sealed_file_comes_with_the_key_and_can_be_left_out(folder, key):
    assert psic("encode", "-m", "tiny", "--condition", key, SAMPLES / "rotated_gps.jpg", "-o", "x.psic").code == 0
    assert metadata_in("x.psic") == (False, False)
    assert metadata_in("x.psic", "--condition", key) == (True, True)
    assert metadata_in("x.psic", "--condition", key, "--strip") == (False, False)
    result = psic("decode", "x.psic", "--metadata", "-o", "x.png")
    assert result.code == ExitCode.CONDITION
    assert result.errors == ["psic: error: x.psic: the metadata of a sealed file need the key"]
    assert not Path("x.png").exists()
    assert psic("decode", "x.psic", "--metadata", "--strip").code == ExitCode.USAGE
