"""The header and the numbers in it: every range holds, for values that are written and for bytes that are read."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.bitstream.container import unpack
from psic_cli.bitstream.header import MAX_PIXELS, MAX_SIDE, Header, quality_level
from psic_cli.bitstream.reader import pack_varint
from tests.bitstream.handmade import SEAL, Y, Z, file_of, header_bytes, refusal
from tests.bitstream.strategies import WEIGHTS_HASH


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"height": 0},
        {"width": -1},
        {"width": MAX_SIDE + 1},
        {"height": MAX_SIDE + 1},
        {"width": MAX_SIDE, "height": MAX_PIXELS // MAX_SIDE + 1},
        {"width": 5.0},
        {"width": True},
        {"quality": 0},
        {"quality": 101},
        {"strength": -1},
        {"strength": 101},
        {"model": ""},
        {"model": "a" * 33},
        {"model": "Psic"},
        {"model": "a b"},
        {"model": "../a"},
        {"model": "é"},
        {"weights_hash": b"7 bytes"},
        {"weights_hash": "8 letter"},
    ],
    ids=str,
)
def test_a_header_outside_its_ranges_cannot_be_made(wrong):
    right: dict[str, Any] = {
        "width": 5,
        "height": 5,
        "quality": 50,
        "strength": 100,
        "model": "m",
        "weights_hash": WEIGHTS_HASH,
    }
    Header(**right, sealed=True)
    with pytest.raises(ValueError, match=f"{next(iter(wrong)).replace('_', ' ')}|pixels"):
        Header(**{**right, **wrong}, sealed=True)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (header_bytes(flags=5), "flags 0x05"),
        (header_bytes(width=b"\x00"), "width 0"),
        (header_bytes(height=pack_varint(MAX_SIDE + 1)), f"height {MAX_SIDE + 1}"),
        (header_bytes(width=pack_varint(MAX_SIDE), height=pack_varint(MAX_SIDE)), "pixels"),
        (header_bytes(width=b"\xff\xff\xff\xff\x0f"), "width 4294967295"),
        (header_bytes(quality=0), "quality 0"),
        (header_bytes(quality=101), "quality 101"),
        (header_bytes(strength=101), "strength 101"),
        (header_bytes(name=b""), "model name"),
        (header_bytes(name=b"m" * 33), "model name"),
        (header_bytes(name=b"m\n"), "model name"),
        (header_bytes(name=b"\xe9"), "model name"),
        (header_bytes(name_length=200), "announced"),
        (header_bytes(rest=WEIGHTS_HASH[:-1]), "announced"),
        (header_bytes(rest=WEIGHTS_HASH + b"\x00"), "left over in the header: 1"),
        (b"", "announced"),
    ],
)
def test_a_header_outside_its_ranges_is_not_read(header, words):
    unpack(file_of(Z, Y, SEAL))
    assert words in str(refusal(file_of(Z, Y, SEAL, header=header)))


def test_numbers_have_one_spelling():
    padded = {1: b"\x85\x00", 2: b"\x85\x80\x00", 4: b"\x85\x80\x80\x80\x00", 5: b"\x85\x80\x80\x80\x80\x00"}
    for number in padded.values():
        assert "number" in str(refusal(file_of(Z, Y, SEAL, header=header_bytes(width=number))))
    assert "shortest" in str(refusal(file_of(Z, Y, SEAL, count=b"\x83\x00")))
    assert "shortest" in str(refusal(file_of(Z, Y, b"\x7f\x80\x00")))


@pytest.mark.parametrize("number", [b"\x80\x80\x80\x80\x10", b"\xff" * 4 + b"\x7f", b"\xff" * 9 + b"\x01"])
def test_numbers_beyond_32_bits_are_refused(number):
    assert "above 4294967295" in str(refusal(file_of(Z, Y, b"\x7f" + number)))


@given(st.integers(0, 2**32 - 1))
def test_numbers_come_back(value):
    packed = pack_varint(value)
    assert len(packed) == max(1, -(-value.bit_length() // 7))
    assert packed[-1] < 0x80


@pytest.mark.parametrize("value", [-1, 2**32])
def test_numbers_outside_32_bits_are_not_written(value):
    with pytest.raises(ValueError, match=str(value)):
        pack_varint(value)


# Quality


def test_the_ends_of_the_quality_scale_are_the_ends_of_the_levels():
    for levels, side in product((1, 2, 3, 8, 64, 100, 200), (1, 224, 300, 512, 5000)):
        ends = [quality_level(quality, levels, side, even_from=512) for quality in (1, 100)]
        assert ends == [0, levels - 1]


@pytest.mark.parametrize(("side", "even_from"), [(512, 512), (4000, 512), (100, 0), (224, 224), (3, 224)])
def test_quality_levels_rise_evenly_and_leave_none_out(side, even_from):
    reached = [quality_level(quality, 64, side, even_from) for quality in range(1, 101)]
    assert sorted(set(reached)) == list(range(64))
    assert reached == sorted(reached)
    assert all(abs(level - (quality - 1) * 63 / 99) <= 0.5 for quality, level in enumerate(reached, 1))


@pytest.mark.parametrize(("quality", "levels"), [(0, 64), (101, 64), (50, 0)])
def test_a_level_for_nothing_is_an_error(quality, levels):
    with pytest.raises(ValueError, match=r"quality|levels"):
        quality_level(quality, levels, 512, 512)


def test_smaller_pictures_get_higher_levels_at_every_quality_but_the_ends():
    for quality in range(2, 100):
        reached = [quality_level(quality, 10**6, side, even_from=512) for side in (224, 256, 300, 400, 511, 512)]
        assert reached == sorted(set(reached), reverse=True)


def test_levels_rise_with_the_quality_in_small_pictures_too():
    for side in (1, 224, 300, 400):
        reached = [quality_level(quality, 64, side, even_from=512) for quality in range(1, 101)]
        assert reached == sorted(reached)


@pytest.mark.parametrize(
    ("quality", "side", "level"),
    [
        (50, 224, 54),
        (50, 227, 53),
        (25, 256, 37),
        (50, 256, 51),
        (75, 256, 59),
        (50, 384, 42),
        (75, 512, 48),
        (50, 540, 31),
    ],
)
def test_the_levels_that_files_of_psic_base_have(quality, side, level):
    """Frozen: 63 b / (b + a) of FORMAT.md section 3, rounded. Another level makes every such file another picture."""
    assert quality_level(quality, 64, side, even_from=540) == level


def test_pictures_below_224_pixels_have_the_levels_of_224():
    for quality in range(1, 101):
        assert quality_level(quality, 64, 16, 512) == quality_level(quality, 64, 224, 512)
