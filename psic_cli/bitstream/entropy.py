"""Range coding of integer symbols with integer tables (FORMAT.md sections 6 to 9), through constriction.

This is the one module that may call constriction, which prints warnings to standard output, panics on some parameters
and decodes damaged data to plausible symbols: everything is checked before it gets there. No torch here, and no float
decides anything. Start with `Encoder` and `Decoder`; both sides must use the same indexes and tables.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from psic_cli.bitstream.tables import MAX_IN_TABLE, MAX_TABLES, TOTAL, TableSet
from psic_cli.errors import FormatError

# Symbols lie in -MAX_SYMBOL..MAX_SYMBOL.
MAX_SYMBOL = 2**20

# An escaped value becomes a whole number w >= 1 (see _fold). Its bit length is coded first, as a class, then the bits
# below the leading one. The largest w is 2 * (MAX_SYMBOL + MAX_IN_TABLE), which has 22 bits.
ESCAPE_CLASSES = (2 * (MAX_SYMBOL + MAX_IN_TABLE)).bit_length()
# Class k has half the probability of class k - 1, as in an exp-Golomb code; the last two share what is left.
ESCAPE_CUMULATIVE = (*(TOTAL - (TOTAL >> k) for k in range(ESCAPE_CLASSES)), TOTAL)

_POWERS = np.left_shift(1, np.arange(ESCAPE_CLASSES, dtype=np.int32), dtype=np.int32)

_WORD = np.dtype("<u4")

Int32Array = npt.NDArray[np.int32]


def encode_symbols(symbols: npt.ArrayLike, indexes: npt.ArrayLike, tables: TableSet) -> bytes:
    """Code symbols [N] in one batch: see `Encoder`."""
    encoder = Encoder()
    encoder.encode(symbols, indexes, tables)
    return encoder.compressed()


def decode_symbols(data: bytes, indexes: npt.ArrayLike, tables: TableSet) -> Int32Array:
    """The symbols int32 [N] that `encode_symbols` coded with the same indexes [N] and tables: see `Decoder`."""
    decoder = Decoder(data)
    symbols = decoder.decode(indexes, tables)
    decoder.close()
    return symbols


class Encoder:
    """Batches of symbols, one after the other, to one stream."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: npt.ArrayLike, indexes: npt.ArrayLike, tables: TableSet) -> None:
        """Code symbols [N], each with the table that its index [N] in 0..len(tables)-1 names.

        Symbols are integers of magnitude at most 2**20; those outside their table are escaped. `ValueError` for wrong
        types, shapes or ranges.
        """
        order = _Order.of(indexes, tables)
        values = _integers("symbols", symbols)
        if values.shape != order.positions.shape:
            raise ValueError(f"{len(values)} symbols with {len(order.positions)} indexes")
        if len(values) and max(int(values.max()), -int(values.min())) > MAX_SYMBOL:
            raise ValueError(f"a symbol is outside -{MAX_SYMBOL}..{MAX_SYMBOL}")
        _encode(self._coder, values[order.positions].astype(np.int32), order, tables)

    def compressed(self) -> bytes:
        """The stream: a whole number of little-endian 32-bit words, none if no symbol was coded."""
        return bytes(self._coder.get_compressed().astype(_WORD).tobytes())


class Decoder:
    """The inverse of `Encoder`: asked for the same batches, it gives their symbols, and `close` says whether the data
    are exactly what an encoder gives for them.

    Damage inside the data often decodes to other, plausible symbols all the same: it is the container's checksum that
    finds it.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) % _WORD.itemsize:
            raise FormatError(f"the coded symbols are damaged: {len(data)} bytes are not a whole number of words")
        self._data = data
        with _damage_as_format_error():
            self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, dtype=_WORD).astype(np.uint32))
        # Coding takes less time than sorting does, and this leaves no content with a second spelling.
        self._again = constriction.stream.queue.RangeEncoder()

    def decode(self, indexes: npt.ArrayLike, tables: TableSet) -> Int32Array:
        """The symbols int32 [N] of a batch with these indexes [N] and tables.

        `FormatError` for impossible data, `ValueError` for wrong indexes.
        """
        order = _Order.of(indexes, tables)
        values = _decode(self._coder, order, tables) if len(order.positions) else np.zeros(0, np.int32)
        _encode(self._again, values, order, tables)
        symbols = np.empty_like(values)
        symbols[order.positions] = values
        return symbols

    def close(self) -> None:
        """`FormatError` if an encoder gives other data for the symbols that were decoded."""
        if self._again.get_compressed().astype(_WORD).tobytes() != self._data:
            raise FormatError("the coded symbols are damaged: they do not end where their data ends")


@dataclass(frozen=True)
class _Order:
    """The order of coding: by table, and inside a table by position."""

    positions: npt.NDArray[np.intp]  # [N] position of the n-th coded symbol
    groups: list[tuple[int, slice]]  # table and its part of the array above, empty ones left out

    @staticmethod
    def of(indexes: npt.ArrayLike, tables: TableSet) -> "_Order":
        given = _integers("indexes", indexes)
        if len(given) and not 0 <= int(given.min()) <= int(given.max()) < len(tables):
            raise ValueError(f"a table index is outside 0..{len(tables) - 1}")
        narrow = given.astype(np.uint16)  # numpy sorts 16-bit integers by radix, four times faster than wider ones
        positions = np.argsort(narrow, kind="stable")
        ends = np.cumsum(np.bincount(narrow, minlength=len(tables)))
        groups = []
        start = 0
        for table, end in enumerate(ends.tolist()):
            if end > start:
                groups.append((table, slice(start, end)))
            start = end
        return _Order(positions, groups)


def _encode(encoder: Any, values: Int32Array, order: _Order, tables: TableSet) -> None:
    """values: [N], in the order of coding."""
    escaped = []
    for table, part in order.groups:
        first, size = tables.offsets[table], tables.sizes[table]
        entries = values[part] - first
        outside = entries.view(np.uint32) >= np.uint32(size)  # below the table too: negative numbers become large ones
        if outside.any():
            escaped.append(_fold(entries[outside], size))
            entries[outside] = size
        encoder.encode(entries, _table_model(tables, table))
    if escaped:
        folded = np.concatenate(escaped)
        classes = np.searchsorted(_POWERS, folded, side="right").astype(np.int32) - np.int32(1)
        encoder.encode(classes, _class_model())
        for k in range(1, ESCAPE_CLASSES):
            below = folded[classes == k] - (1 << k)
            if len(below):
                encoder.encode(below, _bits_model(k))


def _decode(decoder: Any, order: _Order, tables: TableSet) -> Int32Array:
    """The values [N] in the order of coding."""
    values = np.empty(len(order.positions), dtype=np.int32)
    with _damage_as_format_error():
        escaped = []
        for table, part in order.groups:
            entries = decoder.decode(_table_model(tables, table), part.stop - part.start)
            values[part] = entries + tables.offsets[table]
            outside = np.flatnonzero(entries == tables.sizes[table])
            if len(outside):
                escaped.append((table, part.start + outside))
        if escaped:
            classes = decoder.decode(_class_model(), sum(len(where) for _, where in escaped))
            folded = np.ones(len(classes), dtype=np.int32)
            for k in range(1, ESCAPE_CLASSES):
                members = np.flatnonzero(classes == k)
                if len(members):
                    folded[members] = decoder.decode(_bits_model(k), len(members)) + (1 << k)
            for table, where in escaped:
                own, folded = np.split(folded, [len(where)])
                values[where] = _unfold(own, tables.sizes[table]) + tables.offsets[table]
    if max(int(values.max()), -int(values.min())) > MAX_SYMBOL:
        raise FormatError(f"the coded symbols are damaged: one is outside -{MAX_SYMBOL}..{MAX_SYMBOL}")
    return values


def _fold(entries: Int32Array, size: np.int32) -> Int32Array:
    """Number the entries outside 0..size-1 by nearness: 1, 3, 5 ... above the table, 2, 4, 6 ... below it."""
    return np.where(entries > 0, 2 * (entries - size) + 1, -2 * entries)


def _unfold(folded: Int32Array, size: np.int32) -> Int32Array:
    return np.where(folded % 2 == 1, size + (folded - 1) // 2, -(folded // 2))


@lru_cache(maxsize=2 * MAX_TABLES)
def _table_model(tables: TableSet, table: int) -> Any:
    return _integer_model(tables.row(table))


@lru_cache(maxsize=1)
def _class_model() -> Any:
    return _integer_model(np.array(ESCAPE_CUMULATIVE, dtype=np.int32))


@lru_cache(maxsize=ESCAPE_CLASSES)
def _bits_model(count: int) -> Any:
    """`count` bits, all values equally likely; 2**count divides the total, so each has exactly TOTAL >> count."""
    return constriction.stream.model.Uniform(1 << count)


def _integer_model(cumulative: Int32Array) -> Any:
    """A constriction model that codes with exactly these frequencies (cumulative, 0 to 2**24, strictly rising).

    With `perfect=False` constriction puts the lower end of entry i at floor(scale * sum of p_j for j < i) + i, in
    float64, where scale = (2**24 - entries) / sum of all p. With p = frequency - 1 every sum is exact and scale is
    exactly 1, so that the ends are c_i - i + i. `perfect=True` would search for an optimum with logarithms instead.
    """
    weights = np.diff(cumulative).astype(np.float64) - 1.0
    return constriction.stream.model.Categorical(weights, lazy=False, perfect=False)


@contextmanager
def _damage_as_format_error() -> Iterator[None]:
    """constriction raises AssertionError on impossible data, and its panics are BaseExceptions but not Exceptions."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        raise FormatError("the coded symbols are damaged: the range decoder refuses them") from error


def _integers(name: str, given: npt.ArrayLike) -> npt.NDArray[np.integer[Any]]:
    array = np.asarray(given)
    if array.size == 0:
        array = array.astype(np.int32)  # numpy takes an empty list for floats
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} are {array.dtype} of shape {array.shape}, not integers of rank 1")
    return array
