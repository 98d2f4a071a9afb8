"""What becomes of pictures of every mode, depth and state of health."""

import contextlib
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from psic_cli.errors import InputError, OutputError
from psic_cli.picture import Picture, Pixels
from psic_cli.shell.pictures import PictureFormat, format_of_suffix, read_picture, write_picture
from tests.shell.made_pictures import GREY, RGB, SRGB, saved

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the damage made here

# Modes


def test_grey_stays_grey():
    for mode in ("L", "1"):
        image = Image.fromarray(GREY).convert(mode)
        picture = read_picture(saved(image))
        assert picture.grey
        assert picture.alpha is None
        assert (picture.rgb == np.asarray(image.convert("L"))[..., None]).all()


def test_alpha_is_kept_beside_the_colours_it_hides():
    alpha = GREY.copy()
    alpha[0, 0] = 0
    for colour in (GREY[..., None], RGB):
        image = Image.fromarray(np.concatenate([colour, alpha[..., None]], axis=2))
        picture = read_picture(saved(image))
        assert picture.alpha is not None
        assert (picture.alpha == alpha).all()
        assert (picture.rgb == colour).all()


def test_an_opaque_alpha_channel_is_dropped():
    image = Image.fromarray(RGB).convert("RGBA")
    assert read_picture(saved(image)).alpha is None


def test_palettes_and_their_transparency():
    palette = Image.fromarray(RGB).quantize(16)
    picture = read_picture(saved(palette))
    assert (picture.rgb == np.asarray(palette.convert("RGB"))).all()
    assert not picture.grey
    assert picture.alpha is None

    index = np.asarray(palette)[0, 0]
    for transparency in (int(index), bytes(0 if i == index else 255 for i in range(16))):
        picture = read_picture(saved(palette, transparency=transparency))
        assert picture.alpha is not None
        assert ((picture.alpha == 0) == (np.asarray(palette) == index)).all()

    gif = read_picture(saved(palette, "GIF", transparency=int(index)))
    assert gif.alpha is not None
    assert gif.alpha[0, 0] == 0


def test_a_palette_of_greys_is_a_grey_picture():
    picture = read_picture(saved(Image.fromarray(GREY).convert("P")))
    assert picture.grey
    assert (picture.rgb == GREY[..., None]).all()


def test_one_transparent_colour_becomes_alpha():
    grey = read_picture(saved(Image.fromarray(GREY), transparency=int(GREY[3, 4])))
    assert grey.grey
    assert grey.alpha is not None
    assert ((grey.alpha == 0) == (GREY[3, 4] == GREY)).all()
    rgb = read_picture(saved(Image.fromarray(RGB), transparency=tuple(int(v) for v in RGB[3, 4])))
    assert rgb.alpha is not None
    assert rgb.alpha[3, 4] == 0
    assert rgb.alpha[0, 0] == 255


def test_16_bit_grey_is_scaled_not_clipped():
    deep = np.linspace(0, 65535, 12 * 9).round().astype(np.uint16).reshape(12, 9)
    for kind in ("PNG", "TIFF", "PPM", "JPEG2000"):
        warnings: list[str] = []
        picture = read_picture(saved(Image.fromarray(deep), kind), warn=warnings.append)
        assert warnings == ["its 16 bits per channel are reduced to 8"], kind
        assert picture.grey, kind
        assert (picture.rgb[..., 0] == np.rint(deep / 257)).all(), kind


def test_16_bit_grey_with_a_transparent_value():
    deep = np.linspace(0, 65535, 12 * 9).round().astype(np.uint16).reshape(12, 9)
    data = saved(Image.fromarray(deep))
    chunk = b"tRNS" + struct.pack(">H", int(deep[2, 2]))
    at = data.index(b"IDAT") - 4
    data = data[:at] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at:]
    alpha = read_picture(data).alpha
    assert alpha is not None
    assert ((alpha == 0) == (deep == deep[2, 2])).all()


@pytest.mark.parametrize(
    ("values", "expected", "warned"),
    [
        (np.linspace(0, 1, 108), np.rint(np.linspace(0, 255, 108)), False),
        (np.linspace(0, 255, 108), np.rint(np.linspace(0, 255, 108)), False),
        (np.linspace(-5, 900, 108), np.rint(np.linspace(0, 255, 108)), True),
        (np.full(108, 7e9), np.zeros(108), True),
    ],
)
def test_floats_are_taken_on_their_own_scale(values, expected, warned):
    warnings: list[str] = []
    image = Image.fromarray(values.astype(np.float32).reshape(12, 9))
    picture = read_picture(saved(image, "TIFF"), warn=warnings.append)
    assert np.abs(picture.rgb[..., 0].ravel().astype(int) - expected).max() <= 1
    assert any("are scaled to 0 to 255" in text for text in warnings) == warned


def test_floats_that_are_no_numbers_do_no_harm():
    values = np.linspace(0, 1, 108).astype(np.float32).reshape(12, 9)
    values[0, :4] = np.nan, np.inf, -np.inf, 0
    picture = read_picture(saved(Image.fromarray(values), "TIFF"))
    assert picture.rgb[0, :4, 0].tolist() == [0, 255, 0, 0]


def test_32_bit_integers_are_stretched_only_if_they_must_be():
    for top, warned in ((255, False), (65535, False), (10**6, True)):
        warnings: list[str] = []
        values = np.linspace(0, top, 108).astype(np.int32).reshape(12, 9)
        picture = read_picture(saved(Image.fromarray(values), "TIFF"), warn=warnings.append)
        assert (int(picture.rgb.min()), int(picture.rgb.max())) == (0, 255)
        assert any("are scaled to 0 to 255" in text for text in warnings) == warned


def test_cmyk_goes_through_its_profile_which_is_then_dropped(tmp_path):
    cmyk = Image.fromarray(RGB).convert("CMYK")
    plain = read_picture(saved(cmyk, "TIFF"))
    assert (plain.rgb == np.asarray(cmyk.convert("RGB"))).all()
    warnings: list[str] = []
    picture = read_picture(saved(cmyk, "TIFF", icc_profile=SRGB), warn=warnings.append)
    assert picture.icc is None
    assert "profile cannot be used" in warnings[0], "an RGB profile does not describe CMYK"
    assert (picture.rgb == plain.rgb).all()


def test_lab_is_converted():
    lab_profile, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    mild = 96 + RGB // 4  # 8-bit Lab is coarse at the edge of the gamut
    lab = ImageCms.profileToProfile(Image.fromarray(mild), srgb, lab_profile, outputMode="LAB")
    assert lab is not None
    picture = read_picture(saved(lab, "TIFF"))
    assert np.abs(picture.rgb.astype(int) - mild).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA", "JPEG2000", "AVIF", "PCX"])
def test_every_common_format_is_read(kind):
    picture = read_picture(saved(Image.fromarray(RGB), kind))
    assert picture.rgb.shape == RGB.shape
    assert picture.rgb.flags.writeable
    assert picture.rgb.flags.c_contiguous


# Writing


@pytest.mark.parametrize("kind", [kind for kind in PictureFormat if kind is not PictureFormat.JPG])
@pytest.mark.parametrize("grey", [True, False])
def test_pixels_are_written_without_loss(kind, grey):
    rgb: Pixels = np.repeat(GREY[..., None], 3, axis=2) if grey else RGB
    picture = Picture(rgb, grey=grey, icc=None)
    data = write_picture(picture, kind)
    back = read_picture(data)
    assert (back.rgb == rgb).all()
    if kind not in (PictureFormat.WEBP,):  # WebP has no grey
        assert back.grey == grey
    assert write_picture(picture, kind) == data


@pytest.mark.parametrize("kind", [PictureFormat.PNG, PictureFormat.WEBP, PictureFormat.TIFF])
def test_transparency_is_written_with_the_colours_it_hides(kind):
    alpha = GREY.copy()
    back = read_picture(write_picture(Picture(RGB, alpha), kind))
    assert back.alpha is not None
    assert (back.alpha == alpha).all()
    assert (back.rgb == RGB).all()


@pytest.mark.parametrize("kind", [PictureFormat.JPG, PictureFormat.PPM, PictureFormat.BMP])
def test_transparency_that_a_format_cannot_keep_is_laid_on_white_and_said(kind):
    warnings: list[str] = []
    alpha = np.zeros((12, 9), np.uint8)
    data = write_picture(Picture(RGB, alpha), kind, warn=warnings.append)
    assert (read_picture(data).rgb == 255).all()
    assert len(warnings) == 1


def test_a_size_that_a_format_cannot_hold_is_an_output_error():
    long = Picture(np.zeros((1, 20000, 3), np.uint8))
    with pytest.raises(OutputError, match="at most 16383"):
        write_picture(long, PictureFormat.WEBP)
    assert read_picture(write_picture(long, PictureFormat.PNG)).width == 20000


def test_suffixes():
    assert format_of_suffix(".JPEG") is PictureFormat.JPG
    assert format_of_suffix(".psic") is None
    assert all(format_of_suffix(kind.suffix) is kind for kind in PictureFormat)


# Damage


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000"])
def test_a_picture_cut_anywhere_is_an_input_error(kind):
    data = saved(Image.fromarray(RGB), kind)
    # The last row of a BMP is padded, and the layers of a JPEG 2000 may be cut by design.
    end = {"BMP": len(data) - 1, "JPEG2000": 200}.get(kind, len(data))
    for length in range(0, end, 1 if end < 500 else 3):
        with pytest.raises(InputError) as caught:
            read_picture(data[:length])
        assert "\n" not in str(caught.value)


@settings(max_examples=100)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "TGA", "JPEG2000"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damage_gives_a_picture_or_an_input_error_and_nothing_else(kind, changes):
    data = bytearray(saved(Image.fromarray(RGB), kind))
    for position, value in changes:
        data[position % len(data)] = value
    with contextlib.suppress(InputError):
        read_picture(bytes(data), max_pixels=10**4)


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(data):
    with pytest.raises(InputError) as caught:
        read_picture(b"?" + data)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7 ", 'starts with "%PDF"'),
        (b"\x8fPS\n\x01" + bytes(50), "already a .psic file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "starts with"),
        (b"\x89PNG\r\n\x1a\n", "header cannot be read"),
    ],
)
def test_foreign_files_are_named_for_what_they_are(data, words):
    with pytest.raises(InputError, match=words):
        read_picture(data)


def test_a_bomb_is_refused_before_it_is_decoded():
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    data = saved(Image.fromarray(RGB))
    data = data[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    with pytest.raises(InputError, match="30000 x 30000 = 900000000 pixels"):
        read_picture(data)


def test_the_first_frame_of_an_animation_is_taken_and_said():
    frames = [Image.fromarray(np.full((12, 9, 3), value, np.uint8)) for value in (10, 200)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        warnings: list[str] = []
        options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (read_picture(data, warn=warnings.append).rgb == 10).all(), kind
        assert warnings == ["only the first of 2 frames is kept"], kind


@pytest.mark.parametrize(
    ("rgb", "alpha"),
    [
        (np.zeros((2, 2), np.uint8), None),
        (np.zeros((2, 2, 3), np.float32), None),
        (np.zeros((0, 2, 3), np.uint8), None),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.uint8)),
    ],
)
def test_a_picture_checks_its_arrays(rgb, alpha):
    with pytest.raises(ValueError, match=r"uint8|pixel"):
        Picture(rgb, alpha)
