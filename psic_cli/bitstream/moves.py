"""Range coding of moves, what leads from public symbols to those of the full picture (FORMAT.md section 9).

    group of channels: chance of a move at every place -> is there one? -> better chances -> next group ... -> which one

Moves are sparse, and come in clusters: where in the picture many have been found, and at latents of which table index
and symbol, more are expected. All chances are integers, and nothing is told beside the moves: both sides count alike.
No torch here. Start with `encode_moves` and `decode_moves`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from psic_cli.bitstream.entropy import Decoder, Encoder
from psic_cli.bitstream.tables import N_SCALES, TOTAL, TableSet
from psic_cli.errors import FormatError

MAX_MOVE = 2**15  # moves lie in -MAX_MOVE..MAX_MOVE
GROUPS = 16  # of channels: n, n + GROUPS, n + 2 * GROUPS ...

# Chances are in units of 2**-CHANCE_BITS.
CHANCE_BITS = 16
ONE = 1 << CHANCE_BITS
# The chance of a move before any is known, by a fourth of the table index, and what a symbol's magnitude 0, 1, 2, 3 or
# more makes of it, in quarters.
_BY_INDEX = (16, 24, 180, 630, 1800, 3100, 3500, 3500, 3300, 3100, 2900, 2700, 2400, 2200, 2000, 2000)
_BY_MAGNITUDE = (3, 4, 6, 6)
_MAGNITUDES = len(_BY_MAGNITUDE)
_INDEXES = 2  # table indexes in a class of latents that are counted together
_PRIOR: npt.NDArray[np.int64] = np.array(
    [_BY_INDEX[_INDEXES * n // 4] * part // 4 for n in range(N_SCALES // _INDEXES) for part in _BY_MAGNITUDE], np.int64
)  # [classes]
_CLASS_TRUST = 128  # latents that a class must have seen before its own count weighs as much as what all classes tell
_PLACE_TRUST = 2  # expected moves near a place ...
_OWN_WEIGHT = 4  # a move at the place itself, against 1 for one at each of the eight places around it

# One table for each of some chances, the n-th for THRESHOLDS[n] up to the next.
_LARGEST_CHANCE = 3 * ONE // 4

# Which move: 0 is one step towards zero (of a symbol 0: upwards), 1 one step away, 2 two steps towards zero ...
_KINDS = 8  # in a table; larger moves are escaped
_FALL_BITS = 5  # a step more is so many times halved
# The share of the moves towards zero in sixteenths, by a fourth of the table index; 8 for a symbol 0.
_TOWARDS = (14, 14, 14, 14, 13, 12, 10, 9, 9, 8, 8, 8, 8, 8, 8, 8)
_SHARES = 16

Integers = npt.NDArray[np.integer[Any]]


def encode_moves(moves: Integers, symbols: Integers, index: Integers) -> bytes:
    """moves, symbols and table indexes of y, [M, h, w] each -> the payload of a section MOVES; b"" if no move is there.

    `ValueError` for moves outside -2**15..2**15, indexes that no table has, and shapes that differ.
    """
    found = np.asarray(moves)
    if found.shape != np.shape(symbols):
        raise ValueError(f"moves of shape {found.shape} for symbols of shape {np.shape(symbols)}")
    if found.size and max(int(found.max()), -int(found.min())) > MAX_MOVE:
        raise ValueError(f"a move is outside -{MAX_MOVE}..{MAX_MOVE}")
    is_moved = found != 0
    if not is_moved.any():
        return b""
    encoder = Encoder()

    def code(channels: slice, tables: Integers) -> npt.NDArray[np.bool_]:
        encoder.encode(is_moved[channels].ravel().astype(np.int32), tables, CHANCE_TABLES)
        return is_moved[channels]

    _walk(symbols, index, code)
    towards = _towards_zero(symbols[is_moved])
    values = found[is_moved].astype(np.int32)
    encoder.encode(
        2 * (np.abs(values) - 1) + (np.sign(values) != towards), _kind_tables(symbols, index, is_moved), KINDS
    )
    return encoder.compressed()


def decode_moves(data: bytes, symbols: Integers, index: Integers) -> Integers:
    """The moves, int32 [M, h, w], that `encode_moves` coded with the same symbols and indexes [M, h, w].

    `FormatError` for data that `encode_moves` does not give for any moves.
    """
    moves = np.zeros(np.shape(symbols), np.int32)
    if not data:
        return moves
    decoder = Decoder(data)
    is_moved = np.zeros(moves.shape, np.bool_)

    def code(channels: slice, tables: Integers) -> npt.NDArray[np.bool_]:
        flags = decoder.decode(tables, CHANCE_TABLES)
        if flags.size and not 0 <= int(flags.min()) <= int(flags.max()) <= 1:
            raise FormatError("the moves are damaged: there neither is one nor is there none")
        is_moved[channels] = flags.reshape(is_moved[channels].shape)
        return is_moved[channels]

    _walk(symbols, index, code)
    kinds = decoder.decode(_kind_tables(symbols, index, is_moved), KINDS)
    decoder.close()
    if not len(kinds) or not 0 <= int(kinds.min()) <= int(kinds.max()) < 2 * MAX_MOVE:
        raise FormatError(f"the moves are damaged: there is none, or one is outside -{MAX_MOVE}..{MAX_MOVE}")
    moves[is_moved] = (kinds // 2 + 1) * np.where(kinds % 2 == 0, 1, -1) * _towards_zero(symbols[is_moved])
    return moves


def _walk(symbols: Integers, index: Integers, code: Callable[[slice, Integers], npt.NDArray[np.bool_]]) -> None:
    """Go through the groups of channels and ask for the moves of each.

    code: is given the channels and, for each of their latents, flattened, the table of CHANCE_TABLES; gives back where
    moves are, [channels, h, w].
    """
    if np.shape(symbols) != np.shape(index) or np.ndim(symbols) != 3:
        raise ValueError(f"symbols of shape {np.shape(symbols)} with indexes of shape {np.shape(index)}")
    if np.size(index) and not 0 <= int(np.min(index)) <= int(np.max(index)) < N_SCALES:
        raise ValueError(f"a table index is outside 0..{N_SCALES - 1}")
    seen = np.zeros((2, len(_PRIOR)), np.int64)  # latents and moves of each class
    expected_moves = 0  # of all latents seen, as _PRIOR has it
    here = np.zeros((2, *symbols.shape[1:]), np.int64)  # moves expected, and moves, at each place of the channels seen
    for group in range(min(GROUPS, len(symbols))):
        channels = slice(group, None, GROUPS)
        classes = index[channels] // _INDEXES * _MAGNITUDES + np.minimum(np.abs(symbols[channels]), _MAGNITUDES - 1)
        latents, found = seen
        ratio = (int(found.sum()) + 1 << CHANCE_BITS + 8) // (expected_moves + ONE)  # 256: as many as expected
        by_class = ((found << CHANCE_BITS) + (_CLASS_TRUST * ratio * _PRIOR >> 8)) // (latents + _CLASS_TRUST)
        expected, counted = (_OWN_WEIGHT * of_place + _around(of_place) for of_place in here)
        by_place = (counted + _PLACE_TRUST << 2 * CHANCE_BITS) // (expected + _PLACE_TRUST * ONE)
        chances = by_class[classes]
        tables = np.searchsorted(THRESHOLDS, chances * by_place >> CHANCE_BITS, side="right") - 1
        is_moved = code(channels, np.maximum(tables, 0).astype(np.int32).ravel())
        here += np.stack([chances.sum(0), is_moved.sum(0)])
        seen += [np.bincount(which.ravel(), minlength=len(_PRIOR)) for which in (classes, classes[is_moved])]
        expected_moves = int((seen[0] * _PRIOR).sum())


def _around(of_place: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The sum over the eight places around each, [h, w]."""
    height, width = of_place.shape
    rows = np.pad(of_place, 1)
    rows = rows[:height] + rows[1 : height + 1] + rows[2:]
    return rows[:, :width] + rows[:, 1 : width + 1] + rows[:, 2:] - of_place


def _towards_zero(symbols: Integers) -> Integers:
    """The sign of a move towards zero, for each symbol; 1 for a symbol 0."""
    return np.where(symbols > 0, -1, 1).astype(np.int32)


def _kind_tables(symbols: Integers, index: Integers, is_moved: npt.NDArray[np.bool_]) -> Integers:
    """The table of KINDS for every move, in the order of the planes."""
    shares = np.array(_TOWARDS, np.int32)[index[is_moved] // 4]
    return np.where(symbols[is_moved] == 0, _SHARES // 2, shares).astype(np.int32) - 1


def _thresholds() -> list[int]:
    """Chances that grow by a third, from the smallest on."""
    chances = [1]
    while (larger := chances[-1] + max(1, chances[-1] // 3)) <= _LARGEST_CHANCE:
        chances.append(larger)
    return chances


def _chance_tables() -> TableSet:
    """Of the values 0 and 1, no move and a move. The escape, which no encoder needs, has the least frequency."""
    moved = np.array(THRESHOLDS, np.int64) * (TOTAL >> CHANCE_BITS)
    rows = np.stack([0 * moved, TOTAL - 1 - moved, 0 * moved + TOTAL - 1, 0 * moved + TOTAL], axis=1).astype(np.int32)
    return TableSet(rows, np.full(len(rows), 2, np.int32), np.zeros(len(rows), np.int32))


def _kind_table_set() -> TableSet:
    """Of the values 0.._KINDS - 1, the n-th where n + 1 sixteenths of the moves are towards zero."""
    rows = []
    for share in range(1, _SHARES):
        frequencies = []
        for steps in range(_KINDS // 2):
            of_steps = (TOTAL >> _FALL_BITS * steps) - (TOTAL >> _FALL_BITS * (steps + 1))
            towards = of_steps * share // _SHARES
            frequencies += [towards, of_steps - towards]
        rows.append([0, *np.cumsum(frequencies).tolist(), TOTAL])
    sizes = np.full(len(rows), _KINDS, np.int32)
    return TableSet(np.array(rows, np.int32), sizes, np.zeros_like(sizes))


THRESHOLDS = np.array(_thresholds(), np.int64)
CHANCE_TABLES = _chance_tables()
KINDS = _kind_table_set()
