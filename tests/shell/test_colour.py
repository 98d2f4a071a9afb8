"""What becomes of profiles, gamma, primaries, depth and HDR: kept, converted, or said."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from psic_cli.icc import MAX_ICC_BYTES, standard_srgb
from psic_cli.picture import Picture
from psic_cli.shell import colour, profiles
from psic_cli.shell.pictures import PictureFormat, read_picture, write_picture
from tests.shell.made_pictures import GREY, RGB, gama, grey_profile, saved, with_chunks

P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
WIDE = profiles.profile_of(P3, colour._SRGB_CURVE, "wide") or b""


def chrm(primaries: tuple[float, ...]) -> bytes:
    return struct.pack(">8I", *(round(100000 * number) for number in primaries))


def read(data: bytes) -> tuple[Picture, list[str]]:
    warnings: list[str] = []
    return read_picture(data, warn=warnings.append), warnings


def shown(picture: Picture, kind: PictureFormat = PictureFormat.PNG) -> np.ndarray:
    """The sRGB values that a viewer who honours profiles shows of the written file."""
    image = Image.open(io.BytesIO(write_picture(picture, kind)))
    icc = image.info.get("icc_profile")
    if icc is None:
        return np.asarray(image.convert("RGB"))
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    exact = ImageCms.Flags.NOOPTIMIZE
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB", flags=exact)
    assert converted is not None
    return np.asarray(converted)


def srgb_of_light(light: np.ndarray) -> np.ndarray:
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


LOSSLESS = [kind for kind in PictureFormat if kind is not PictureFormat.JPG]

# Profiles


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("gamma", [1.0, 2.2])
def test_a_grey_profile_is_right_for_the_pixels_of_every_format(kind, gamma):
    picture, warnings = read(saved(Image.fromarray(GREY), icc_profile=grey_profile(gamma)))
    assert (picture.grey, picture.icc, warnings) == (True, grey_profile(gamma), [])
    expected = srgb_of_light((GREY / 255) ** gamma)
    data = write_picture(picture, kind)
    assert np.abs(shown(picture, kind) - expected[..., None]).max() <= 2
    image = Image.open(io.BytesIO(data))
    icc = image.info.get("icc_profile")
    assert icc is None or profiles.space_of(icc) == (profiles.GREY if image.mode == "L" else profiles.RGB)


@pytest.mark.parametrize("kind", PictureFormat)
def test_wide_colours_are_shown_alike_in_every_format(kind):
    mild = (96 + RGB // 4).astype(np.uint8)
    warnings: list[str] = []
    picture, _ = read(saved(Image.fromarray(mild), icc_profile=WIDE))
    assert picture.icc == WIDE
    expected = profiles.to_srgb(mild, WIDE)
    assert expected is not None
    assert (expected != mild).any()
    assert np.abs(shown(picture, kind).astype(int) - expected).max() <= (9 if kind is PictureFormat.JPG else 2)
    write_picture(picture, kind, warn=warnings.append)
    name = kind.value
    told = [f"{name} has no colour profile: the picture is converted to sRGB"] if name in ("ppm", "bmp") else []
    assert warnings == told


def test_standard_profiles_are_recognised_by_what_they_say():
    other_date = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made_here = profiles.profile_of(colour._SRGB_PRIMARIES, colour._SRGB_CURVE, "any name")
    with Image.open("sample_images/astronaut.png") as image:  # sRGB IEC61966-2.1, as most cameras write it
        of_cameras = image.info["icc_profile"]
    assert len(of_cameras) == 3144
    for icc in (standard_srgb(), other_date, made_here, of_cameras, of_cameras + bytes(3)):
        picture, warnings = read(saved(Image.fromarray(RGB), icc_profile=icc))
        assert picture.icc == standard_srgb()
        assert warnings == []
    for curve in ((2.2, 1.0, 0.0, 0.0, 0.0), (1.8, 1.0, 0.0, 0.0, 0.0)):
        near = profiles.profile_of(colour._SRGB_PRIMARIES, curve, "sRGB")
        picture, _ = read(saved(Image.fromarray(RGB), icc_profile=near))
        assert picture.icc == near, "the name alone does not count"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: b"rubbish", "is no ICC profile"),
        (lambda: WIDE[:36] + b"xxxx" + WIDE[40:], "is no ICC profile"),
        (lambda: WIDE[:-100], "ends too early"),
        (lambda: WIDE[:200], "ends too early"),
        (lambda: grey_profile(2.2), "is for grey pixels, not for colour"),
        (lambda: WIDE[:16] + b"CMYK" + WIDE[20:], "is for other pixels, not for colour"),
        (lambda: WIDE[:128] + bytes(len(WIDE) - 128), "is damaged"),
        (lambda: struct.pack(">I", MAX_ICC_BYTES + 1) + WIDE[4:].ljust(MAX_ICC_BYTES - 3, b"\0"), "more than"),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_profile_that_is_none_is_left_out_and_said(make: Callable[[], bytes], words, kind):
    icc = make()
    if len(icc) > MAX_ICC_BYTES and kind in ("PNG", "JPEG"):
        pytest.skip("Pillow reads no PNG and writes no JPEG with a profile of that size")
    picture, warnings = read(saved(Image.fromarray(RGB), kind, icc_profile=icc))
    assert picture.icc is None
    assert len(warnings) == 1
    assert words in warnings[0]


def test_a_png_with_a_profile_of_megabytes_is_read():
    large = struct.pack(">I", 2**21) + WIDE[4:] + bytes(2**21 - len(WIDE))
    picture, warnings = read(saved(Image.fromarray(RGB), icc_profile=large))
    assert (picture.icc, warnings) == (large, [])


def test_a_colour_profile_says_nothing_of_grey_pixels():
    picture, warnings = read(saved(Image.fromarray(GREY), icc_profile=standard_srgb()))
    assert (picture.icc, picture.grey) == (None, True)
    assert warnings == ["its colour profile is for colour pixels, not for grey: it is left out"]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, len(WIDE) - 1), st.integers(0, 255)), min_size=1, max_size=9))
def test_a_damaged_profile_never_stops_a_picture(changes):
    icc = bytearray(WIDE)
    for position, value in changes:
        icc[position] = value
    picture, warnings = read(saved(Image.fromarray(RGB), icc_profile=bytes(icc)))
    assert (picture.icc is None) == bool(warnings)
    for kind in PictureFormat:
        write_picture(picture, kind)


def test_a_profile_that_a_hostile_file_carries_never_reaches_pixels_that_it_does_not_fit():
    warnings: list[str] = []
    for icc in (b"a profile", grey_profile(2.2), WIDE[:300]):
        for kind in PictureFormat:
            image = Image.open(io.BytesIO(write_picture(Picture(RGB, icc=icc), kind, warn=warnings.append)))
            found = image.info.get("icc_profile")
            assert found is None or profiles.space_of(found) == profiles.RGB
    assert "its colour profile is damaged: it is left out" in warnings


# What PNG says


@pytest.mark.parametrize("gamma", [1.0, 0.55556, 0.38])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_gamma_is_converted_and_said(gamma, mode):
    image = Image.fromarray(GREY if mode == "L" else RGB)
    image = image.quantize(64) if mode == "P" else image
    picture, warnings = read(with_chunks(saved(image), gAMA=gama(gamma)))
    plain, _ = read(saved(image))
    expected = srgb_of_light((plain.rgb / 255) ** (1 / round(gamma, 5)))
    assert np.abs(picture.rgb - expected).max() <= 0.51
    assert warnings == [f"its values (gAMA {gamma:g}) are converted to sRGB"]
    assert (shown(picture) == picture.rgb).all()


SRGB_CHRM = chrm((0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06))


@pytest.mark.parametrize(
    ("chunks", "tagged"),
    [
        ({"gAMA": gama(0.45455)}, False),
        ({"gAMA": gama(0.45455), "cHRM": SRGB_CHRM}, False),
        ({"cHRM": SRGB_CHRM}, False),
        ({"sRGB": b"\0", "gAMA": gama(1)}, True),
        ({"cICP": bytes((1, 13, 0, 1))}, True),
        ({"cICP": bytes((1, 13, 0, 1)), "sRGB": b"\0", "gAMA": gama(1)}, True),
    ],
)
def test_what_says_srgb_changes_nothing(chunks, tagged):
    picture, warnings = read(with_chunks(saved(Image.fromarray(RGB)), **chunks))
    assert (picture.rgb == RGB).all()
    assert warnings == []
    assert picture.icc == (standard_srgb() if tagged else None)
    grey, warnings = read(with_chunks(saved(Image.fromarray(GREY)), **chunks))
    assert (grey.rgb == GREY[..., None]).all()
    assert (grey.icc, warnings) == (None, [])


def test_a_profile_goes_before_gamma_and_cicp_before_a_profile():
    data = saved(Image.fromarray(RGB), icc_profile=WIDE)
    picture, warnings = read(with_chunks(data, gAMA=gama(1)))
    assert (picture.icc, warnings) == (WIDE, [])
    assert (picture.rgb == RGB).all()
    picture, warnings = read(with_chunks(data, cICP=bytes((1, 13, 0, 1))))
    assert (picture.icc, warnings) == (standard_srgb(), [])


@pytest.mark.parametrize(
    "chunks", [{"cICP": bytes((12, 13, 0, 1))}, {"cHRM": chrm(P3), "gAMA": gama(0.45455)}, {"cHRM": chrm(P3)}]
)
def test_wide_primaries_are_kept_as_a_profile(chunks):
    mild = (96 + RGB // 4).astype(np.uint8)
    picture, warnings = read(with_chunks(saved(Image.fromarray(mild)), **chunks))
    assert (picture.rgb == mild).all()
    assert warnings == []
    # The matrices of both colour spaces are known from their standards (CSS Color 4).
    to_srgb = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
    v = mild / 255
    light = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ to_srgb.T
    assert np.abs(shown(picture) - srgb_of_light(np.clip(light, 0, 1))).max() <= 1.5


@pytest.mark.parametrize(("code", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_not_supported_and_says_so(code, name):
    data = with_chunks(saved(Image.fromarray(RGB)), cICP=bytes((9, code, 0, 1)))
    picture, warnings = read(data)
    assert warnings == [f"high dynamic range ({name}) is not supported: its values are taken as sRGB"]
    assert (picture.rgb == RGB).all()
    tagged = with_chunks(saved(Image.fromarray(RGB), icc_profile=WIDE), cICP=bytes((9, code, 0, 1)))
    picture, warnings = read(tagged)
    assert warnings == [
        f"high dynamic range ({name}) is not supported: its values are taken as its colour profile says"
    ]
    assert picture.icc == WIDE


@pytest.mark.parametrize(
    "chunks",
    [
        {"cICP": bytes((9, 1, 0, 1))},
        {"cICP": bytes((1, 13, 1, 1))},
        {"cICP": bytes((1, 13, 0, 0))},
        {"cICP": b"\1"},
        {"cICP": b""},
        {"gAMA": gama(0.001)},
        {"gAMA": gama(400)},
        {"cHRM": bytes(32)},
        {"cHRM": b"\xff" * 32},
        {"cHRM": chrm((0.3, 0.3) * 4)},
    ],
)
def test_what_makes_no_sense_is_said_and_the_picture_is_taken(chunks):
    picture, warnings = read(with_chunks(saved(Image.fromarray(RGB)), **chunks))
    assert (picture.rgb == RGB).all()
    assert picture.icc is None
    assert len(warnings) == 1
    assert "taken as sRGB" in warnings[0]
