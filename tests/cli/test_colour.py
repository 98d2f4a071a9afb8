"""Colour that files describe or hide: what becomes of it from the command line."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import ROOT, psic
from tests.shell.made_pictures import deep_png, deep_tiff, gama, grey_profile, with_chunks

CASES = ROOT.parent / "shared" / "cases"


def png(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", **options)
    return stream.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def half_erased() -> tuple[np.ndarray, np.ndarray]:
    """RGBA [H, W, 4] whose right half has alpha 0 over a photo, and a mask of that half."""
    with Image.open(ROOT / "sample_images" / "cat.png") as image:
        rgb = np.array(image.convert("RGB"))[60:188, 100:292]
    hidden = np.zeros(rgb.shape[:2], bool)
    hidden[:, 96:] = True
    return np.dstack([rgb, np.where(hidden, 0, 255).astype(np.uint8)]), hidden


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(65025 / np.mean(np.square(one.astype(float) - other.astype(float)))))


def shared_case(name: str) -> bytes:
    path = CASES / name
    if not path.exists():
        pytest.skip("the shared cases are not here")
    return path.read_bytes()


# Hidden colour


@pytest.mark.parametrize("shared", [False, True])
def test_what_was_erased_cannot_be_had_back_and_the_file_is_smaller(tmp_path, shared):
    if shared:
        source = pixels(shared_case("01_hidden_under_alpha.png"))
        hidden = source[..., 3] == 0
    else:
        source, hidden = half_erased()
    data = png(source)
    cleared, kept = (psic("encode", "--open", *option, stdin=data) for option in ([], ["--keep-hidden"]))
    assert len(cleared) < 0.75 * len(kept)
    for version in ([], ["--full"]):
        found = {name: pixels(psic("decode", *version, stdin=file)) for name, file in (("c", cleared), ("k", kept))}
        for picture in found.values():
            assert (picture[..., 3] == source[..., 3]).all()
            assert psnr(picture[~hidden, :3], source[~hidden, :3]) > 28
        assert psnr(found["k"][hidden, :3], source[hidden, :3]) > 28
        assert psnr(found["c"][hidden, :3], source[hidden, :3]) < 18


def test_two_pictures_that_differ_in_hidden_colour_alone_give_the_same_file(folder):
    source, hidden = half_erased()
    other = source.copy()
    other[hidden, :3] = 255 - other[hidden, :3]
    files = [psic("encode", "-m", "tiny", "--open", stdin=png(picture)) for picture in (source, other)]
    assert files[0] == files[1]
    for quiet in (["--keep-hidden"], []):
        files.append(psic("encode", "-m", "tiny", "--open", *quiet, stdin=png(source)))
    assert files[2] != files[3] == files[0]


# What files say about their colours

ENCODE = ("encode", "-m", "tiny", "--open")


def of_case(name: str, made: bytes) -> list[bytes]:
    """A picture made here and, where there is one, the shared case like it."""
    return [made, *([(CASES / name).read_bytes()] if (CASES / name).exists() else [])]


def warnings_of(stderr: str) -> list[str]:
    start = "psic: warning: "
    return [line.removeprefix(start) for line in stderr.splitlines() if line.startswith(start)]


def test_a_grey_profile_never_lies_beside_colour_pixels(folder):
    grey = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
    for source in of_case("05_grey_icc.png", png(grey, icc_profile=grey_profile(1.8))):
        file = psic(*ENCODE, "-q", "100", stdin=source)
        for kind in ("png", "jpg", "webp", "tiff", "ppm", "bmp"):
            image = Image.open(io.BytesIO(psic("decode", "--full", "--format", kind, stdin=file)))
            icc = image.info.get("icc_profile")
            assert image.mode == ("RGB" if kind == "webp" else "L")
            assert (icc and icc[16:20]) == {"webp": b"RGB ", "ppm": None, "bmp": None}.get(kind, b"GRAY")


def test_gamma_of_a_png_is_converted_and_said(folder):
    values = np.repeat(np.arange(0, 250, 5, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(30, axis=0)
    for source in of_case("11_gama1.png", with_chunks(png(values), gAMA=gama(1))):
        encoded = psic(*ENCODE, "-q", "100", stdin=source)
        assert warnings_of(encoded.stderr) == ["standard input: its values (gAMA 1) are converted to sRGB"]
        data = psic("decode", "--full", stdin=encoded)
        light = pixels(source).astype(float) / 255
        expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        assert abs(pixels(data).mean() - expected.mean()) < 6
        assert expected.mean() - pixels(source).mean() > 40


def test_hdr_is_said_not_to_be_supported(folder):
    for source in of_case("11_cicp_pq.png", with_chunks(picture_bytes(), cICP=bytes((9, 16, 0, 1)))):
        result = psic(*ENCODE, stdin=source)
        assert result.code == 0
        assert warnings_of(result.stderr) == [
            "standard input: high dynamic range (PQ) is not supported: its values are taken as sRGB"
        ]


def test_a_standard_profile_costs_two_bytes_and_comes_back(folder):
    with Image.open(ROOT / "sample_images" / "astronaut.png") as image:
        icc = image.info["icc_profile"]
    for source in of_case("12_srgb_profile.png", picture_bytes(icc_profile=icc)):
        untagged = png(pixels(source))
        sizes = [len(psic(*ENCODE, stdin=data)) for data in (source, untagged)]
        assert sizes[0] - sizes[1] <= 2
        for version in ([], ["--full"]):
            back = Image.open(io.BytesIO(psic("decode", *version, stdin=psic(*ENCODE, stdin=source))))
            profile = ImageCms.ImageCmsProfile(io.BytesIO(back.info["icc_profile"]))
            assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_other_profiles_are_compressed(folder):
    icc = grey_profile(2.2)
    padded = (len(icc) + 5000).to_bytes(4, "big") + icc[4:] + bytes(5000)
    grey = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
    sizes = [len(psic(*ENCODE, stdin=png(grey, **options))) for options in ({"icc_profile": padded}, {})]
    assert sizes[0] - sizes[1] < 200
    back = Image.open(io.BytesIO(psic("decode", stdin=psic(*ENCODE, stdin=png(grey, icc_profile=padded)))))
    assert back.info["icc_profile"] == padded


def test_a_garbage_profile_is_left_out_and_said(folder):
    result = psic(*ENCODE, stdin=picture_bytes(icc_profile=b"rubbish"))
    assert result.code == 0
    assert warnings_of(result.stderr) == ["standard input: its colour profile is no ICC profile: it is left out"]
    assert "icc_profile" not in Image.open(io.BytesIO(psic("decode", stdin=result))).info


@pytest.mark.parametrize("data", [deep_png(2, 3), deep_png(0, 1), deep_tiff(3, 16, 1)])
def test_sixteen_bits_are_reduced_with_a_word(folder, data):
    result = psic(*ENCODE, stdin=data)
    assert result.code == 0
    assert warnings_of(result.stderr) == ["standard input: its 16 bits per channel are reduced to 8"]


def test_float_colour_is_not_called_damaged(folder):
    for source in of_case("07_float_rgb.tif", deep_tiff(3, 32, 3)):
        result = psic(*ENCODE, stdin=source)
        assert (result.code, result) == (ExitCode.INPUT, b"")
        assert result.stderr.splitlines() == [
            "psic: error: standard input: float colour is not supported: the picture has 3 channels of 32-bit "
            "floating-point numbers",
            "psic: hint: save it with 8 or 16 bits per channel",
        ]


# What an open file makes public


def gps_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x013B] = "Maker", "Somebody"
    exif.get_ifd(0x8769)[0xA431] = "12345"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})
    return picture_bytes(kind="JPEG", exif=exif.tobytes(), xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")


def test_an_open_file_says_what_it_makes_public(folder):
    for source in of_case("13_gps.jpg", gps_jpeg()):
        (line,) = warnings_of(psic(*ENCODE, stdin=source).stderr)
        assert line.startswith("open: anybody can decode the full picture, with EXIF, GPS position, ")
        assert line.endswith(", XMP")
        assert "serial number" in line
        assert psic(*ENCODE, "--strip", stdin=source).stderr == ""
        result = psic(*ENCODE, "--strip", "-v", stdin=source)
        assert "open: anybody can decode the full picture, without EXIF and XMP" in result.stderr
    assert "open:" not in psic("encode", "-m", "tiny", stdin=gps_jpeg()).stderr
    assert psic(*ENCODE, "--quiet", stdin=gps_jpeg()).stderr == ""


def test_a_batch_of_open_files_says_it_once(folder):
    for name, data in (("a.jpg", gps_jpeg()), ("b.jpg", gps_jpeg()), ("c.png", picture_bytes()), ("d.png", b"broken")):
        (folder / name).write_bytes(data)
    (line,) = warnings_of(psic(*ENCODE, "a.jpg", "b.jpg", "c.png", "d.png", "-o", "out").stderr)
    assert line.startswith("open: anybody can decode 3 full pictures, with EXIF (in 2), GPS position (in 2), ")


def test_the_protected_version_of_an_open_file_tells_no_position(folder):
    for source in of_case("13_gps.jpg", gps_jpeg()):
        file = psic(*ENCODE, stdin=source)
        found = {}
        for name, options in {"plain": [], "asked": ["--metadata"], "full": ["--full"]}.items():
            data = psic("decode", *options, "--format", "jpg", stdin=file)
            found[name] = bool(Image.open(io.BytesIO(data)).getexif().get_ifd(0x8825))
        assert found == {"plain": False, "asked": True, "full": True}
