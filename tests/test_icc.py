"""Colour profiles in a .psic file: short, exact, and of no size but the one they are said to have."""

import io
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageCms

from psic_cli.bitstream.reader import pack_varint
from psic_cli.errors import FormatError
from psic_cli.icc import MAX_ICC_BYTES, icc_from_payload, icc_to_payload, standard_srgb


@given(st.binary(min_size=1, max_size=2000))
def test_a_profile_comes_back(profile):
    assert icc_from_payload(icc_to_payload(profile)) == profile


def test_the_standard_profile_costs_nothing_and_is_one():
    assert icc_to_payload(standard_srgb()) == b""
    restored = icc_from_payload(b"")
    assert "sRGB" in str(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(restored))))
    assert restored == standard_srgb.__wrapped__(), "made anew, it is the same"


def test_the_largest_profile_is_taken_and_no_larger_one():
    largest = bytes(MAX_ICC_BYTES)
    assert icc_from_payload(icc_to_payload(largest)) == largest
    with pytest.raises(ValueError, match="larger than"):
        icc_to_payload(largest + b"\0")
    with pytest.raises(FormatError, match="damaged"):
        icc_from_payload(pack_varint(MAX_ICC_BYTES + 1) + zlib.compress(largest + b"\0"))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00",
        b"\x00" + zlib.compress(b""),
        b"\x05",
        b"\x05hello",
        b"\x04" + zlib.compress(b"hello"),
        b"\x06" + zlib.compress(b"hello"),
        b"\x05" + zlib.compress(b"hello")[:-1],
        b"\x05" + zlib.compress(b"hello") + b"\0",
        b"\xff",
    ],
)
def test_anything_else_is_refused(payload):
    with pytest.raises(FormatError, match="damaged"):
        icc_from_payload(payload)


def test_a_bomb_is_not_unpacked():
    bomb = b"\x64" + zlib.compress(bytes(2**28), 9)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="another size"):
            icc_from_payload(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
