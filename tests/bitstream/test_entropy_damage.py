"""The range coder refuses whatever no encoder wrote, and callers' mistakes, and never with more than a FormatError."""

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.bitstream import entropy
from psic_cli.bitstream.entropy import (
    MAX_SYMBOL,
    decode_symbols,
    encode_symbols,
)
from psic_cli.bitstream.tables import TableSet, symbol_tables
from psic_cli.errors import FormatError
from tests.bitstream import second_reader
from tests.bitstream.strategies import EXAMPLE_TABLES, messages, photo


def plain(tables: TableSet) -> list[second_reader.Table]:
    """The same tables for the second reader."""
    return second_reader.tables_of(tables.cumulative.tolist(), tables.sizes.tolist(), tables.offsets.tolist())


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
