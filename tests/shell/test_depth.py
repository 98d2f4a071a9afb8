"""Bits that are lost are said, and kinds of TIFF that are not supported are not called damaged."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from psic_cli.errors import InputError
from psic_cli.shell.headers import bits_per_channel, hdr_transfer
from psic_cli.shell.pictures import read_picture
from tests.shell.made_pictures import RGB, deep_png, deep_tiff, saved


def warnings_of(data: bytes) -> list[str]:
    warnings: list[str] = []
    read_picture(data, warn=warnings.append)
    return warnings


def deep_ppm() -> bytes:
    return b"P6\n# made here\n9 12\n65535\n" + bytes(9 * 12 * 6)


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (deep_png(2, 3), 16),
        (deep_png(6, 4), 16),
        (deep_png(4, 2), 16),
        (deep_png(0, 1), 16),
        (deep_tiff(3, 16, 1), 16),
        (deep_tiff(1, 16, 1), 16),
        (deep_tiff(1, 32, 3), 32),
        (deep_ppm(), 16),
    ],
    ids=["png rgb", "png rgba", "png grey and alpha", "png grey", "tiff rgb", "tiff grey", "tiff float", "ppm"],
)
def test_depth_that_is_lost_is_said(data, bits):
    assert warnings_of(data) == [f"its {bits} bits per channel are reduced to 8"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "GIF", "TGA"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_ordinary_depth_is_not_worth_a_word(kind, mode):
    if kind == "WEBP" or (kind, mode) in (("JPEG", "1"), ("JPEG2000", "1"), ("AVIF", "1")):
        mode = "RGB"
    assert warnings_of(saved(Image.fromarray(RGB).convert(mode), kind)) == []


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 32, 3), "float colour is not supported: the picture has 3 channels of 32-bit floating-point numbers"),
        ((4, 32, 3), "float colour is not supported: the picture has 4 channels of 32-bit floating-point numbers"),
        ((3, 16, 3), "float colour is not supported: the picture has 3 channels of 16-bit floating-point numbers"),
        ((1, 64, 3), "this is a kind of TIFF that is not supported: the picture has 1 channel of 64-bit floating"),
        ((3, 32, 1), "this is a kind of TIFF that is not supported: the picture has 3 channels of 32-bit whole"),
    ],
)
def test_a_tiff_of_unsupported_numbers_is_not_called_damaged(shape, words):
    with pytest.raises(InputError) as caught:
        read_picture(deep_tiff(*shape))
    assert str(caught.value).startswith(words)
    assert "8 or 16 bits" in str(caught.value.hint)


@settings(max_examples=100)
@given(st.binary(max_size=60), st.sampled_from(["PNG", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF", "JPEG"]))
def test_headers_of_any_bytes_are_read_without_an_error(data, kind):
    image: Any = Image.new("RGB", (1, 1))
    image.format = kind
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"P6\n1 1\n", b"\xff\x4f\xff\x51"):
        assert bits_per_channel(image, start + data) >= 8
        hdr_transfer(kind, start + data)
