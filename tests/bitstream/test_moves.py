"""Moves: back exactly as they were, small where they are sparse, and no damage that does more than a FormatError."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.bitstream import moves as module
from psic_cli.bitstream.entropy import Encoder
from psic_cli.bitstream.moves import CHANCE_BITS, CHANCE_TABLES, KINDS, MAX_MOVE, THRESHOLDS, decode_moves, encode_moves
from psic_cli.bitstream.tables import N_SCALES, SCALES, TOTAL
from psic_cli.errors import FormatError
from tests.bitstream.handmade import moves_spelled
from tests.bitstream.strategies import planes


def picture(seed: int, channels: int = 240, side: int = 16, share: float = 0.1):
    """Moves as a shield makes them: in some places of the picture, at latents that are not certain, mostly of one."""
    random = np.random.default_rng(seed)
    index = np.clip(random.normal(14, 9, (channels, 1, 1)) + random.normal(0, 3, (channels, side, side)), 0, 63)
    index = index.astype(np.int32)
    symbols = np.rint(random.standard_normal(index.shape) * SCALES[index]).astype(np.int32)
    cells = random.normal(-1, 1.3, (side // 2, side // 2)).repeat(2, 0).repeat(2, 1)
    chance = share * np.clip(SCALES[index], 0, 1) ** 2 * np.exp(cells)
    size = random.choice([1, 2], index.shape, p=[0.98, 0.02])
    towards = np.where(symbols == 0, random.choice([-1, 1], index.shape), -np.sign(symbols))
    sign = np.where(random.random(index.shape) < 0.75, towards, -towards)
    return (sign * size * (random.random(index.shape) < chance)).astype(np.int32), symbols, index


@given(planes())
def test_moves_come_back(given_planes):
    found, symbols, index = given_planes
    decoded = decode_moves(encode_moves(found, symbols, index), symbols, index)
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, found)


@given(planes())
def test_the_nearest_kinds_of_integers_give_the_same_bytes(given_planes):
    found, symbols, index = given_planes
    data = encode_moves(found, symbols, index)
    assert encode_moves(found.astype(np.int64), symbols.astype(np.int64), index.astype(np.int64)) == data
    assert encode_moves(*(np.asfortranarray(part) for part in given_planes)) == data


def test_no_moves_are_no_bytes():
    _, symbols, index = picture(1)
    assert encode_moves(np.zeros_like(symbols), symbols, index) == b""
    assert not decode_moves(b"", symbols, index).any()


def test_one_move_takes_a_few_bytes():
    found, symbols, index = picture(1)
    one = np.zeros_like(found)
    one[130, 7, 9] = 1
    assert len(encode_moves(one, symbols, index)) <= 16


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_sparse_moves_take_less_than_if_all_places_were_alike(share):
    """Than an ideal code, too, that knows how many moves there are at latents of each index and symbol."""
    sizes = ideal = count = 0.0
    for seed in range(3):
        found, symbols, index = picture(seed, share=share)
        sizes += 8 * len(encode_moves(found, symbols, index))
        count += np.count_nonzero(found)
        classes = index * 5 + np.clip(symbols, -2, 2) + 2
        for number in np.unique(classes):
            seen = np.unique(found[classes == number], return_counts=True)[1]
            ideal -= float((seen * np.log2(seen / seen.sum())).sum())
    assert 0.01 < count / 3 / found.size < 0.1
    assert sizes < 0.97 * ideal
    assert sizes / count < 7.5


def test_moves_in_one_corner_cost_less_than_moves_all_over():
    found, symbols, index = picture(3)
    random = np.random.default_rng(0)
    shuffled = found.reshape(len(found), -1).copy()
    for channel in range(len(found)):  # the same moves, elsewhere; symbols and indexes with them
        order = random.permutation(shuffled.shape[1])
        for part in (shuffled, symbols.reshape(shuffled.shape), index.reshape(shuffled.shape)):
            part[channel] = part[channel][order]
    assert len(encode_moves(found, *picture(3)[1:])) < 0.95 * len(
        encode_moves(shuffled.reshape(found.shape), symbols, index)
    )


# Wrong values from a caller


@pytest.mark.parametrize("move", [MAX_MOVE + 1, -MAX_MOVE - 1, -(2**31), 2**31 - 1])
def test_a_move_too_far_is_refused(move):
    found = np.full((1, 1, 1), move, np.int32)
    with pytest.raises(ValueError, match="outside"):
        encode_moves(found, np.zeros_like(found), np.zeros_like(found))


@pytest.mark.parametrize("index", [-1, N_SCALES])
def test_an_index_that_no_table_has_is_refused(index):
    one = np.ones((1, 1, 1), np.int32)
    with pytest.raises(ValueError, match="table index"):
        encode_moves(one, one, index * one)
    with pytest.raises(ValueError, match="table index"):
        decode_moves(bytes(4), one, index * one)


def test_shapes_that_differ_are_refused():
    found = np.ones((2, 3, 4), np.int32)
    for others in ((found[:1], found), (found, found[:1]), (found[..., :1], found)):
        with pytest.raises(ValueError, match="shape"):
            encode_moves(found, *others)
    with pytest.raises(ValueError, match="shape"):
        decode_moves(bytes(4), found, found[:1])


# Damage


def harmless(data: bytes, symbols, index, good) -> bool:
    """Whether it is refused; if it is not, the moves in it are others, and it is their one spelling."""
    try:
        found = decode_moves(data, symbols, index)
    except FormatError:
        return True
    assert np.abs(found).max() <= MAX_MOVE
    assert not np.array_equal(found, good)
    assert encode_moves(found, symbols, index) == data
    return False


def test_every_truncation_is_refused_or_gives_other_moves():
    found, symbols, index = picture(5, channels=48, side=8, share=0.3)
    data = encode_moves(found, symbols, index)
    assert all(harmless(data[:length], symbols, index, found) for length in range(1, len(data)))
    assert all(harmless(data + bytes(more), symbols, index, found) for more in range(1, 9))


def test_every_damaged_byte_is_refused_or_gives_other_moves():
    found, symbols, index = picture(5, channels=24, side=4, share=0.5)
    data = encode_moves(found, symbols, index)
    assert 12 < len(data) < 200
    for position in range(len(data)):
        for change in (0x01, 0x10, 0x80, 0xFF):
            changed = bytearray(data)
            changed[position] ^= change
            harmless(bytes(changed), symbols, index, found)


@given(st.binary(min_size=1, max_size=64), planes())
def test_any_bytes_are_refused_or_the_one_spelling_of_some_moves(data, given_planes):
    _, symbols, index = given_planes
    harmless(data, symbols, index, None)


def test_a_payload_that_says_that_there_is_no_move_is_refused():
    """No bytes say that, and nothing has two spellings."""
    symbols = np.zeros((20, 4, 4), np.int32)
    data = moves_spelled(np.zeros((20, 4, 4), np.int32), symbols, symbols)
    with pytest.raises(FormatError, match="there is none"):
        decode_moves(data, symbols, symbols)


def test_a_payload_whose_moves_go_too_far_is_refused():
    symbols = np.zeros((20, 4, 4), np.int32)
    data = moves_spelled(np.full((20, 4, 4), MAX_MOVE + 1, np.int32), symbols, symbols)
    with pytest.raises(FormatError, match="outside"):
        decode_moves(data, symbols, symbols)


def test_a_payload_that_escapes_the_question_whether_there_is_a_move_is_refused():
    zero = np.zeros((1, 1, 1), np.int32)
    encoder = Encoder()

    def code(channels, tables):
        encoder.encode([2], tables, CHANCE_TABLES)
        return zero == 1

    module._walk(zero, zero, code)
    with pytest.raises(FormatError, match="neither"):
        decode_moves(encoder.compressed(), zero, zero)


# The tables


def test_the_thresholds_reach_from_the_smallest_chance_to_three_quarters_by_thirds():
    assert THRESHOLDS[0] == 1
    assert np.all(np.diff(THRESHOLDS) == np.maximum(1, THRESHOLDS[:-1] // 3))
    assert THRESHOLDS[-1] <= 3 << CHANCE_BITS - 2 < THRESHOLDS[-1] + THRESHOLDS[-1] // 3


def test_a_table_of_a_chance_gives_a_move_that_chance():
    for table, threshold in enumerate(THRESHOLDS):
        stay, moved, escape = np.diff(CHANCE_TABLES.row(table)).tolist()
        assert (moved, escape) == (threshold << 24 - CHANCE_BITS, 1)
        assert stay + moved + escape == TOTAL


def test_a_step_more_is_a_thirtysecond_as_likely():
    for table in range(len(KINDS)):
        frequencies = np.diff(KINDS.row(table))
        of_steps = frequencies[:-1].reshape(-1, 2).sum(1)
        assert math.isclose(frequencies[0] / of_steps[0], (table + 1) / 16, abs_tol=1e-6)
        assert np.all(of_steps[:-1] == 32 * of_steps[1:])


def test_chances_stay_integers_in_the_largest_picture_full_of_moves(monkeypatch):
    """Nothing overflows where every count is as large as any picture makes it."""
    seen = []
    symbols = np.zeros((32, 3, 3), np.int32)
    index = np.full_like(symbols, 1)

    def code(channels, tables):
        seen.append(tables)
        return np.ones((2, 3, 3), bool)

    module._walk(symbols, index, code)
    assert seen[-1].min() == len(THRESHOLDS) - 1
