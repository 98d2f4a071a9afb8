"""The range coder: exact for every message, refusing whatever no encoder wrote, and never more than a FormatError."""

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.bitstream import entropy
from psic_cli.bitstream.entropy import ESCAPE_CLASSES, ESCAPE_CUMULATIVE, MAX_SYMBOL, decode_symbols, encode_symbols
from psic_cli.bitstream.tables import MAX_IN_TABLE, SCALES, TOTAL, TableSet, symbol_tables
from psic_cli.errors import FormatError
from tests.bitstream import second_reader
from tests.bitstream.strategies import EXAMPLE_TABLES, frequencies, messages, table_set, words


def plain(tables: TableSet) -> list[second_reader.Table]:
    """The same tables for the second reader."""
    return second_reader.tables_of(tables.cumulative.tolist(), tables.sizes.tolist(), tables.offsets.tolist())


def photo(count: int, tails: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and indexes [count] as a picture gives them: most scales small, tails heavier than Gaussian."""
    random = np.random.default_rng(20240229)
    indexes = np.minimum(random.geometric(0.06, count) - 1, 63)
    return np.rint(random.standard_t(tails, count) * SCALES[indexes]).astype(np.int32), indexes


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


# Damage


def test_data_cut_anywhere_is_refused():
    tables = symbol_tables()
    symbols, indexes = photo(300)
    data = encode_symbols(symbols, indexes, tables)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_symbols(data[:length], indexes, tables)


@given(messages(), st.binary(min_size=1, max_size=12))
def test_data_with_something_behind_it_is_refused(message, extra):
    data = encode_symbols(message.symbols, message.indexes, message.tables)
    for added in (extra, bytes(len(extra))):
        with pytest.raises(FormatError):
            decode_symbols(data + added, message.indexes, message.tables)


@given(messages(), st.data())
def test_changed_data_is_refused_or_is_another_message(message, data):
    """The coder has no redundancy: what it can promise is that no two spellings mean the same."""
    right = encode_symbols(message.symbols, message.indexes, message.tables)
    wrong = bytearray(right or bytes(4))
    wrong[data.draw(st.integers(0, len(wrong) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_symbols(bytes(wrong), message.indexes, message.tables)
    except FormatError:
        return
    assert decoded.tolist() != message.symbols
    assert np.abs(decoded).max() <= MAX_SYMBOL
    assert encode_symbols(decoded, message.indexes, message.tables) == wrong


@given(messages(), st.binary(max_size=80))
def test_noise_is_refused_by_both_readers_or_by_none(message, noise):
    def read(decode):
        try:
            return list(decode())
        except (FormatError, second_reader.Refused):
            return None

    for data in (noise, noise[: len(noise) // 4 * 4]):
        ours = read(lambda data=data: decode_symbols(data, message.indexes, message.tables))
        theirs = read(lambda data=data: second_reader.decode_symbols(data, message.indexes, plain(message.tables)))
        assert ours == theirs


def test_words_that_no_encoder_can_write_are_refused():
    with pytest.raises(FormatError, match="range decoder refuses"):
        decode_symbols(b"\xff" * 8, [0], EXAMPLE_TABLES)


@pytest.mark.parametrize("value", [MAX_SYMBOL + 1, -MAX_SYMBOL - 1, 2**21, -(2**21) + 1])
def test_an_escaped_value_beyond_the_bound_is_refused(value):
    table = plain(EXAMPLE_TABLES)[0]
    data = second_reader.encode_symbols([0, value], [0, 0], [table])
    with pytest.raises(FormatError, match=f"outside -{MAX_SYMBOL}..{MAX_SYMBOL}"):
        decode_symbols(data, [0, 0], EXAMPLE_TABLES)


def test_an_escape_for_a_value_in_the_table_cannot_be_written():
    """Escapes number the values outside the table only, so there is nothing to refuse: w = 1 is the next value up."""
    encoder = second_reader.Encoder()
    table = plain(EXAMPLE_TABLES)[0]
    encoder.entry(table.c, table.escape)
    encoder.entry(second_reader.CLASS_C, 0)
    assert decode_symbols(encoder.payload(), [0], EXAMPLE_TABLES).tolist() == [2]


def test_many_words_for_few_symbols_are_refused():
    with pytest.raises(FormatError, match="do not end"):
        decode_symbols(bytes(2**20), [0, 0], EXAMPLE_TABLES)


def test_words_for_no_symbols_are_refused():
    with pytest.raises(FormatError):
        decode_symbols(bytes(4), [], EXAMPLE_TABLES)


def test_no_words_for_symbols_are_refused():
    with pytest.raises(FormatError):
        decode_symbols(b"", [0], EXAMPLE_TABLES)


# Callers' mistakes: nothing of the kind may reach constriction


@pytest.mark.parametrize(
    ("symbols", "indexes"),
    [
        ([0, 0], [0]),
        ([0], [0, 0]),
        ([0], [2]),
        ([0], [-1]),
        ([0], [2**63]),
        ([0], [2**16]),
        ([0.0], [0]),
        ([0], [0.0]),
        ([float("nan")], [0]),
        ([True], [0]),
        ([0], [False]),
        ([[0]], [0]),
        ([0], [[0]]),
        (0, 0),
        ([MAX_SYMBOL + 1], [0]),
        ([-MAX_SYMBOL - 1], [0]),
        ([-(2**63)], [0]),
        ([2**64 - 1], [0]),
        (["0"], [0]),
        ([None], [0]),
    ],
)
def test_what_is_not_a_message_is_not_encoded(symbols, indexes):
    with pytest.raises(ValueError, match=r"symbol|index"):
        encode_symbols(symbols, indexes, EXAMPLE_TABLES)


@pytest.mark.parametrize("indexes", [[2], [-1], [2**63], [0.0], [[0]], 0, [True]])
def test_what_is_not_an_index_is_not_decoded(indexes):
    with pytest.raises(ValueError, match="index"):
        decode_symbols(bytes(4), indexes, EXAMPLE_TABLES)


def test_a_panic_of_constriction_becomes_a_format_error(capfd):
    with pytest.raises(FormatError), entropy._damage_as_format_error():
        constriction.stream.model.Uniform(1)  # a panic: derived from BaseException alone
    capfd.readouterr()  # Rust has written its backtrace to standard error


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit, MemoryError])
def test_what_is_not_about_the_data_passes_through(signal):
    with pytest.raises(signal), entropy._damage_as_format_error():
        raise signal


def test_nothing_is_ever_printed(capfd):
    """constriction warns on standard output, where picture bytes go, unless every argument is spelled out."""
    entropy._table_model.cache_clear()
    entropy._class_model.cache_clear()
    symbols, indexes = photo(500, tails=1.0)
    tables = symbol_tables()
    decode_symbols(encode_symbols(symbols, indexes, tables), indexes, tables)
    assert tuple(capfd.readouterr()) == ("", "")
