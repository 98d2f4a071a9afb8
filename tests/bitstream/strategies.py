"""Hypothesis strategies for headers, containers, tables and coded symbols, and a few fixed examples of them."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from psic_cli.bitstream import header
from psic_cli.bitstream.container import Container, Section
from psic_cli.bitstream.entropy import MAX_SYMBOL
from psic_cli.bitstream.header import Header
from psic_cli.bitstream.moves import MAX_MOVE
from psic_cli.bitstream.tables import MAX_IN_TABLE, N_SCALES, SCALES, TOTAL, TableSet

WEIGHTS_HASH = bytes.fromhex("0123456789abcdef")
SEALED = Container(
    Header(4000, 3000, 50, 100, "psic-base", WEIGHTS_HASH, sealed=True),
    {Section.Z: b"zzzz", Section.Y: b"symbols!", Section.ICC: b"colours", Section.SEALED: bytes(range(40))},
)
OPEN = Container(
    Header(1, 2**18, 1, 0, "m", WEIGHTS_HASH, sealed=False, grey=True),
    {
        Section.Z: b"",
        Section.Y: b"symbols!",
        Section.MOVES: bytes(130),
        Section.ALPHA: b"png",
        Section.ICC: b"colours",
        Section.EXIF: b"place",
        Section.XMP: b"<x/>",
    },
)


def with_checksum(body: bytes) -> bytes:
    """A file of these bytes whose checksum fits: what somebody makes who edits a file on purpose."""
    return body + struct.pack("<I", zlib.crc32(body))


@st.composite
def headers(draw: st.DrawFn, sealed: bool | None = None) -> Header:
    width = draw(st.integers(1, header.MAX_SIDE))
    return Header(
        width=width,
        height=draw(st.integers(1, min(header.MAX_SIDE, header.MAX_PIXELS // width))),
        quality=draw(st.integers(1, 100)),
        strength=draw(st.integers(0, 100)),
        model=draw(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=32)),
        weights_hash=draw(st.binary(min_size=8, max_size=8)),
        sealed=draw(st.booleans()) if sealed is None else sealed,
        grey=draw(st.booleans()),
    )


@st.composite
def containers(draw: st.DrawFn, sealed: bool | None = None) -> Container:
    header = draw(headers(sealed))
    if header.sealed:
        must, may = [Section.SEALED], [Section.ALPHA, Section.ICC]
    else:
        must, may = [Section.MOVES], [Section.ALPHA, Section.ICC, Section.EXIF, Section.XMP]
    names = [Section.Z, Section.Y, *must, *draw(st.lists(st.sampled_from(may), unique=True))]
    return Container(header, {name: draw(st.binary(max_size=200)) for name in draw(st.permutations(names))})


@st.composite
def frequencies(draw: st.DrawFn, most: int = 12) -> list[int]:
    """2..most + 1 numbers, at least 1, that add up to 2**24; rarities and near-certainties are common."""
    some = draw(st.lists(st.one_of(st.just(1), st.integers(1, 200), st.integers(1, 10**6)), min_size=1, max_size=most))
    some.insert(draw(st.integers(0, len(some))), TOTAL - sum(some))
    return some


def table_set(rows: list[list[int]], offsets: list[int]) -> TableSet:
    """A TableSet of the given frequencies, the escape's last."""
    sizes = [len(row) - 1 for row in rows]
    cumulative = np.full((len(rows), max(sizes) + 2), TOTAL, dtype=np.int32)
    for target, row in zip(cumulative, rows, strict=True):
        target[: len(row) + 1] = np.cumsum([0, *row])
    return TableSet(cumulative, np.array(sizes, dtype=np.int32), np.array(offsets, dtype=np.int32))


@st.composite
def table_sets(draw: st.DrawFn) -> TableSet:
    rows = draw(st.lists(frequencies(), min_size=1, max_size=5))
    near = st.integers(-20, 20)
    far = st.sampled_from([-MAX_IN_TABLE, MAX_IN_TABLE - 20])
    return table_set(rows, [draw(st.one_of(near, far)) for _ in rows])


@dataclass(frozen=True)
class Message:
    """Symbols, the index of each one's table, and the tables."""

    symbols: list[int]
    indexes: list[int]
    tables: TableSet


@st.composite
def messages(draw: st.DrawFn, most: int = 60) -> Message:
    tables = draw(table_sets())
    indexes = draw(st.lists(st.integers(0, len(tables) - 1), max_size=most))
    symbols = []
    for index in indexes:
        first = int(tables.offsets[index])
        inside = st.integers(first, first + int(tables.sizes[index]) - 1)
        around = st.integers(first - 30, first + 30)
        anywhere = st.one_of(st.integers(-MAX_SYMBOL, MAX_SYMBOL), st.sampled_from([-MAX_SYMBOL, MAX_SYMBOL]))
        symbols.append(draw(st.one_of(inside, inside, inside, around, anywhere)))
    return Message(symbols, indexes, tables)


@st.composite
def planes(draw: st.DrawFn) -> tuple[npt.NDArray[np.int32], ...]:
    """Moves, symbols and indexes of any small y."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5)))
    move = st.one_of(st.integers(-2, 2), st.integers(-MAX_MOVE, MAX_MOVE), st.sampled_from([-MAX_MOVE, MAX_MOVE]))
    found = draw(arrays(np.int32, shape, elements=move, fill=st.just(0)))
    symbols = draw(arrays(np.int32, shape, elements=st.integers(-(2**20), 2**20), fill=st.just(0)))
    index = draw(arrays(np.int32, shape, elements=st.integers(0, N_SCALES - 1), fill=st.integers(0, N_SCALES - 1)))
    return found, symbols, index


# Two tables that FORMAT.md prints as its example: {-1, 0, 1} and {0}, each with its escape.
EXAMPLE_TABLES = TableSet(
    np.array([[0, 4194304, 12582912, 16777200, TOTAL], [0, 16777000, TOTAL, TOTAL, TOTAL]], dtype=np.int32),
    np.array([3, 1], dtype=np.int32),
    np.array([-1, 0], dtype=np.int32),
)


def words(data: bytes) -> list[int]:
    """The little-endian 32-bit words of coded symbols."""
    array: npt.NDArray[np.uint32] = np.frombuffer(data, dtype="<u4")
    return [int(word) for word in array]


def photo(count: int, tails: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and indexes [count] as a picture gives them: most scales small, tails heavier than Gaussian."""
    random = np.random.default_rng(20240229)
    indexes = np.minimum(random.geometric(0.06, count) - 1, 63)
    return np.rint(random.standard_t(tails, count) * SCALES[indexes]).astype(np.int32), indexes
