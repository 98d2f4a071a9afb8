"""The sealed layer of a hardened file: what comes out lies where the encoder wanted it, and damage is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from psic_cli.bitstream.entropy import encode_symbols
from psic_cli.bitstream.refinement import CLASSES, MAX_MOVE, MAX_SHIFT, decode_refinement, encode_refinement
from psic_cli.bitstream.tables import symbol_tables
from psic_cli.errors import FormatError
from tests.bitstream import second_network, second_reader

TABLES = symbol_tables()
PLAIN_TABLES = second_reader.tables_of(TABLES.cumulative.tolist(), TABLES.sizes.tolist(), TABLES.offsets.tolist())
SHAPE = (5, 4, 8)


def layers() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Distances, public symbols and table indexes."""
    return st.tuples(
        arrays.arrays(np.float32, SHAPE, elements=st.floats(-40, 40, width=32)),
        arrays.arrays(np.int32, SHAPE, elements=st.integers(-4, 4)),
        arrays.arrays(np.int32, SHAPE, elements=st.integers(0, 63)),
    )


def alike(symbol: int) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and table indexes of latents that all have the same symbol and class."""
    return np.full(SHAPE, symbol, np.int32), np.full(SHAPE, 20, np.int32)


def encoded(distance: float, symbol: int) -> bytes:
    """Such latents at such a distance."""
    symbols, index = alike(symbol)
    return encode_refinement(np.full(SHAPE, distance, np.float32), symbols, index, TABLES)


def decoded(data: bytes, symbol: int) -> tuple[np.ndarray, np.ndarray]:
    symbols, index = alike(symbol)
    return decode_refinement(data, symbols, index, TABLES)


@given(layers())
def test_a_distance_comes_back_within_half_a_step(layer):
    distance, symbols, index = layer
    moves, found = decode_refinement(encode_refinement(distance, symbols, index, TABLES), symbols, index, TABLES)
    assert moves.dtype == np.int32
    assert np.abs(found - distance).max() <= 0.5 + 1e-5


@given(layers())
def test_the_second_reader_finds_the_same_moves(layer):
    distance, symbols, index = layer
    data = encode_refinement(distance, symbols, index, TABLES)
    moves, found = decode_refinement(data, symbols, index, TABLES)
    flat = symbols.ravel().tolist(), index.ravel().tolist()
    there = second_network.decode_refinement(data, *flat, PLAIN_TABLES)
    assert [move for move, _ in there] == moves.ravel().tolist()
    assert [move + added / 16 for move, added in there] == found.ravel().tolist()


@pytest.mark.parametrize(("symbol", "distance"), [(1, -0.25), (-1, 0.25), (3, -0.8125)])
def test_a_class_that_lies_towards_zero_needs_no_move(symbol, distance):
    moves, found = decoded(encoded(distance, symbol), symbol)
    assert not moves.any()
    assert (found == np.float32(distance)).all()


def test_symbols_of_zero_have_no_direction_to_be_shifted_in():
    _, found = decoded(encoded(0.4, 0), 0)
    assert not found.any()


def test_the_table_of_a_class_fits_its_moves():
    generator = np.random.default_rng(0)
    sizes = []
    for scale in (0.2, 5.0):
        distance = generator.normal(0, scale, (16, 32, 32)).astype(np.float32)
        symbols, index = np.zeros(distance.shape, np.int32), np.full(distance.shape, 30, np.int32)
        coded = len(encode_refinement(distance, symbols, index, TABLES)) - 2 * CLASSES
        moves = np.rint(distance).astype(np.int32).ravel()
        of_each = [len(encode_symbols(moves, np.full(moves.shape, table), TABLES)) for table in range(len(TABLES))]
        assert coded <= 1.001 * min(of_each)
        sizes.append(coded)
    assert sizes[0] < sizes[1] / 2


def test_a_distance_beyond_all_moves_is_clamped():
    moves, _ = decoded(encoded(1e9, 0), 0)
    assert (moves == MAX_MOVE).all()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, len(TABLES), "a table or a shift is out of range"),
        (3, MAX_SHIFT + 1, "a table or a shift is out of range"),
        (1, 1, "a table or a shift is out of range"),  # a shift where symbols are 0
    ],
)
def test_tables_and_shifts_out_of_range_are_refused(place, value, words):
    data = bytearray(encoded(0.0, 1))
    data[place] = value
    with pytest.raises(FormatError, match=words):
        decoded(bytes(data), 1)
    symbols, index = (part.ravel().tolist() for part in alike(1))
    with pytest.raises(second_reader.Refused):
        second_network.decode_refinement(bytes(data), symbols, index, PLAIN_TABLES)


@given(st.data())
def test_a_refinement_that_is_cut_is_refused(data):
    whole = encoded(1.0, 1)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(FormatError, match="damaged"):
        decoded(cut, 1)
