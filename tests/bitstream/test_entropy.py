"""The range coder: exact for every message, and as small as its tables promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.bitstream.entropy import (
    ESCAPE_CLASSES,
    ESCAPE_CUMULATIVE,
    MAX_SYMBOL,
    Decoder,
    Encoder,
    decode_symbols,
    encode_symbols,
)
from psic_cli.bitstream.tables import MAX_IN_TABLE, TOTAL, TableSet, symbol_tables
from psic_cli.errors import FormatError
from tests.bitstream import second_reader
from tests.bitstream.strategies import EXAMPLE_TABLES, frequencies, messages, photo, table_set, words


def plain(tables: TableSet) -> list[second_reader.Table]:
    """The same tables for the second reader."""
    return second_reader.tables_of(tables.cumulative.tolist(), tables.sizes.tolist(), tables.offsets.tolist())


# Round trips


@given(messages())
def test_symbols_come_back(message):
    data = encode_symbols(message.symbols, message.indexes, message.tables)
    decoded = decode_symbols(data, message.indexes, message.tables)
    assert decoded.dtype == np.int32
    assert decoded.tolist() == message.symbols
    assert len(data) % 4 == 0


@given(messages())
def test_the_words_are_those_of_the_integers_in_the_tables(message):
    """An independent coder that uses the tables' integers writes the same: constriction quantises nothing."""
    data = encode_symbols(message.symbols, message.indexes, message.tables)
    tables = plain(message.tables)
    assert second_reader.encode_symbols(message.symbols, message.indexes, tables) == data
    assert second_reader.decode_symbols(data, message.indexes, tables) == message.symbols


@given(st.lists(messages(most=20), min_size=1, max_size=4))
def test_batches_share_one_stream_and_the_second_reader_agrees(batches):
    encoder, again = Encoder(), second_reader.Encoder()
    for batch in batches:
        encoder.encode(batch.symbols, batch.indexes, batch.tables)
        second_reader.encode_batch(again, batch.symbols, batch.indexes, plain(batch.tables))
    data = encoder.compressed()
    assert again.payload() == data
    decoder = Decoder(data)
    for batch in batches:
        assert decoder.decode(batch.indexes, batch.tables).tolist() == batch.symbols
    decoder.close()


def test_a_stream_of_more_batches_than_were_asked_for_is_refused():
    encoder = Encoder()
    for _ in range(2):
        encoder.encode([5, -9, 1], [0, 1, 1], EXAMPLE_TABLES)
    decoder = Decoder(encoder.compressed())
    decoder.decode([0, 1, 1], EXAMPLE_TABLES)
    with pytest.raises(FormatError, match="do not end"):
        decoder.close()


@given(frequencies(most=200), st.integers(-50, 50), st.data())
def test_any_frequencies_are_used_exactly(row, offset, data):
    tables = table_set([row], [offset])
    symbols = data.draw(st.lists(st.integers(offset, offset + len(row) - 1), min_size=1, max_size=30))
    indexes = [0] * len(symbols)
    assert second_reader.encode_symbols(symbols, indexes, plain(tables)) == encode_symbols(symbols, indexes, tables)


def test_the_largest_table_is_used_exactly():
    """65,537 symbols, nearly all of frequency 1: sums of that many floats must not lose a unit."""
    row = np.ones(2 * MAX_IN_TABLE + 2, dtype=int)
    row[1000] = TOTAL - row.sum() + 1
    tables = table_set([row.tolist()], [-MAX_IN_TABLE])
    symbols = [-MAX_IN_TABLE, 1000 - MAX_IN_TABLE, 999 - MAX_IN_TABLE, 1001 - MAX_IN_TABLE, 0, MAX_IN_TABLE]
    symbols += [MAX_IN_TABLE + 1, -MAX_IN_TABLE - 1, MAX_SYMBOL, -MAX_SYMBOL]
    indexes = [0] * len(symbols)
    data = encode_symbols(symbols, indexes, tables)
    assert second_reader.encode_symbols(symbols, indexes, plain(tables)) == data
    assert decode_symbols(data, indexes, tables).tolist() == symbols


def test_a_picture_comes_back_and_the_second_reader_agrees():
    tables = symbol_tables()
    symbols, indexes = photo(5000)
    data = encode_symbols(symbols, indexes, tables)
    assert np.array_equal(decode_symbols(data, indexes, tables), symbols)
    assert second_reader.decode_symbols(data, indexes.tolist(), plain(tables)) == symbols.tolist()


def test_a_message_of_surprises_alone_comes_back():
    symbols = [sign * value for k in range(21) for value in (2**k - 1, 2**k, 2**k + 1) for sign in (1, -1)]
    symbols = [symbol for symbol in symbols if abs(symbol) <= MAX_SYMBOL]
    indexes = [place % 2 for place in range(len(symbols))]
    data = encode_symbols(symbols, indexes, EXAMPLE_TABLES)
    assert decode_symbols(data, indexes, EXAMPLE_TABLES).tolist() == symbols
    assert second_reader.encode_symbols(symbols, indexes, plain(EXAMPLE_TABLES)) == data


@pytest.mark.parametrize("first", [0x7FFFFFFF, 0x80000000, 0x12345678, 0xFFFFFFFE])
@pytest.mark.parametrize("rest", [0x00000000, 0xFFFFFFFF])
def test_carries_run_through_many_words(first, rest):
    """Symbols whose interval stays on a word boundary, so that the encoder cannot know any word before the end."""
    tables = symbol_tables()
    table = plain(tables)[40]
    decoder = second_reader.Decoder(np.array([first] + [rest] * 60, dtype="<u4").tobytes())
    symbols = [table.first + decoder.entry(table.c) for _ in range(80)]
    indexes = [40] * 80
    for count in range(1, 80):
        data = encode_symbols(symbols[:count], indexes[:count], tables)
        assert second_reader.encode_symbols(symbols[:count], indexes[:count], [table] * 41) == data
        assert decode_symbols(data, indexes[:count], tables).tolist() == symbols[:count]


def test_no_symbols_are_no_bytes():
    assert encode_symbols([], [], EXAMPLE_TABLES) == b""
    nothing = decode_symbols(b"", [], EXAMPLE_TABLES)
    assert nothing.dtype == np.int32
    assert nothing.shape == (0,)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64])
def test_integers_of_any_width_are_coded_alike(kind):
    symbols, indexes = np.array([0, 1, 100, 0], dtype=kind), np.array([0, 1, 1, 0], dtype=kind)
    data = encode_symbols(symbols, indexes, EXAMPLE_TABLES)
    assert data == encode_symbols([0, 1, 100, 0], [0, 1, 1, 0], EXAMPLE_TABLES)
    assert decode_symbols(data, indexes, EXAMPLE_TABLES).tolist() == symbols.tolist()


def test_arrays_with_gaps_and_arrays_that_are_read_only_are_coded_alike():
    symbols, indexes = np.array([0, 9, 1, 9, 100, 9], dtype=np.int32)[::2], np.array([0, 1, 1])
    symbols.setflags(write=False)
    indexes.setflags(write=False)
    data = encode_symbols(symbols, indexes, EXAMPLE_TABLES)
    assert data == encode_symbols([0, 1, 100], [0, 1, 1], EXAMPLE_TABLES)


def test_arguments_are_left_as_they_were():
    symbols, indexes = np.array([0, 5, -1], dtype=np.int32), np.array([1, 0, 0])
    decode_symbols(encode_symbols(symbols, indexes, EXAMPLE_TABLES), indexes, EXAMPLE_TABLES)
    assert (symbols.tolist(), indexes.tolist()) == ([0, 5, -1], [1, 0, 0])


# Frozen words: if one of these changes, every file ever written changes its meaning

GOLDEN: list[tuple[list[int], list[int], list[int]]] = [
    ([], [], []),
    ([0], [0], [0x40000000]),
    ([0], [1], [0x00000000]),
    ([2], [0], [0xFFFFF000]),
    ([0, -1, 1], [0, 0, 0], [0x58000000]),
    ([0, 1, -1, 0, 7, -300, 0, 2], [0, 1, 0, 1, 1, 0, 0, 0], [0x5FFFFF7F, 0xFD80000F, 0xFE0D7AF5, 0x92C40000]),
    ([5, 0], [1, 1], [0xFFFFE6B0]),
    (
        [1048576, -1048576, 1048576, -1048576],
        [0, 0, 1, 1],
        [0xFFFFFFFF, 0xFE00000F, 0xFF0D7FFA, 0x4D0D5277, 0xFE93BFFF, 0xFFFE93BF, 0xF49DFF49, 0xE0000000],
    ),
    ([1, 1, 1], [1, 1, 1], [0xFFFFFFFF, 0xFDFF6713]),
    (
        [0, -1, 4, -9, 16, -25, 36, -49, 64, -81, 100, -121],
        [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
        [
            0xBFFFFFFF,
            0xFDC0000F,
            0xFF00FFFF,
            0xFFFFFFFF,
            0xFFFFFFFF,
            0xFFC5FFFF,
            0xFF9744E5,
            0x9B500EF6,
            0xA618CF74,
            0x72213666,
            0x00000000,
        ],
    ),
]


@pytest.mark.parametrize(("symbols", "indexes", "golden"), GOLDEN)
def test_words_are_frozen(symbols, indexes, golden):
    data = encode_symbols(symbols, indexes, EXAMPLE_TABLES)
    assert words(data) == golden
    assert decode_symbols(data, indexes, EXAMPLE_TABLES).tolist() == symbols


def test_escape_classes_are_frozen():
    assert ESCAPE_CLASSES == 22
    assert np.diff(ESCAPE_CUMULATIVE).tolist() == [2 ** (23 - k) for k in range(21)] + [8]


def test_words_are_little_endian():
    assert encode_symbols([0, -1, 1], [0, 0, 0], EXAMPLE_TABLES) == b"\x00\x00\x00\x58"


# Size


def test_coding_costs_what_the_tables_say():
    tables = symbol_tables()
    symbols, indexes = photo(20_000, tails=1000.0)
    entries = symbols - tables.offsets[indexes]
    inside = (entries >= 0) & (entries < tables.sizes[indexes])
    symbols, indexes, entries = symbols[inside], indexes[inside], entries[inside]
    frequencies_used = tables.cumulative[indexes, entries + 1] - tables.cumulative[indexes, entries]
    bits = -np.log2(frequencies_used / TOTAL).sum()
    assert len(encode_symbols(symbols, indexes, tables)) <= bits / 8 * 1.0005 + 8
