"""The sealed layer of a hardened file: from the latents that everybody can read to those of the full picture.

What is public there is the protected picture itself. Its latents say much of the full picture's, which lie a few steps
of quantisation away: the *move* of each latent. How far it goes depends on how well the latent was predicted and on its
symbol. So latents are put into classes by both, and the encoder chooses for each class a table, and how far the middle
of its moves lies towards zero (FORMAT.md section 6). No torch here. Start with `encode_refinement` and
`decode_refinement`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from psic_cli.bitstream.entropy import decode_symbols, encode_symbols
from psic_cli.bitstream.tables import N_SCALES, TableSet
from psic_cli.errors import FormatError

INDEXES = 4  # table indexes of the public layer that share a class
MAGNITUDES = 3  # of public symbols: 0, 1, larger
CLASSES = N_SCALES // INDEXES * MAGNITUDES
SHIFT_BITS = 4  # shifts are in sixteenths of a step, 0..15
MAX_SHIFT = 2**SHIFT_BITS - 1
MAX_MOVE = 2**15 - 1  # the encoder clamps
_COUNTED = 64  # the largest moves that tables are chosen by

Integers = npt.NDArray[np.int32]


def encode_refinement(distance: npt.NDArray[np.float32], symbols: Integers, index: Integers, tables: TableSet) -> bytes:
    """distance [M, h, w]: of the full picture's latents from the public ones, in steps of quantisation. symbols, index
    [M, h, w]: the public ones, 0 where a latent is sealed, and the table indexes that they were coded with.
    """
    group = _classes(symbols, index)
    shifts = _shifts(-np.sign(symbols) * distance, group)
    moves = np.rint(distance - _middles(symbols, group, shifts))
    moves = moves.clip(-MAX_MOVE, MAX_MOVE).astype(np.int32)
    chosen = _tables(moves, group, tables)
    head = np.stack([chosen, shifts], axis=1).astype(np.uint8).tobytes()
    return head + encode_symbols(moves.ravel(), chosen[group].ravel(), tables)


def decode_refinement(
    data: bytes, symbols: Integers, index: Integers, tables: TableSet
) -> tuple[Integers, npt.NDArray[np.float32]]:
    """The moves [M, h, w], and the distance that they stand for. FormatError for what `encode_refinement` cannot give.

    symbols, index: [M, h, w], as `encode_refinement` takes them.
    """
    if len(data) < 2 * CLASSES:
        raise FormatError("the refinement is damaged: it ends before its symbols")
    chosen, shifts = np.frombuffer(data[: 2 * CLASSES], np.uint8).reshape(CLASSES, 2).T.astype(np.int64)
    if chosen.max() >= len(tables) or shifts.max() > MAX_SHIFT or shifts[::MAGNITUDES].any():
        raise FormatError("the refinement is damaged: a table or a shift is out of range")
    group = _classes(symbols, index)
    moves = decode_symbols(data[2 * CLASSES :], chosen[group].ravel(), tables).reshape(symbols.shape)
    return moves, moves.astype(np.float32) + _middles(symbols, group, shifts)


def _classes(symbols: Integers, index: Integers) -> npt.NDArray[np.intp]:
    """[M, h, w] of 0..CLASSES-1."""
    return index.astype(np.intp) // INDEXES * MAGNITUDES + np.abs(symbols).clip(max=MAGNITUDES - 1)


def _middles(symbols: Integers, group: npt.NDArray[np.intp], shifts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """What no move at all stands for, [M, h, w]: a distance towards zero."""
    return (-np.sign(symbols) * shifts[group] / (1 << SHIFT_BITS)).astype(np.float32)


def _shifts(inwards: npt.NDArray[Any], group: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """For each class the mean of its distances towards zero, in whole sixteenths, [CLASSES]. Symbols of zero have none.

    inwards: the distances, positive if they lead towards zero.
    """
    counts = np.bincount(group.ravel(), minlength=CLASSES).clip(min=1)
    means = np.bincount(group.ravel(), inwards.ravel(), minlength=CLASSES) / counts
    return np.rint(means * (1 << SHIFT_BITS)).clip(0, MAX_SHIFT).astype(np.int64)


def _tables(moves: Integers, group: npt.NDArray[np.intp], tables: TableSet) -> npt.NDArray[np.int64]:
    """For each class the table that takes the fewest bits for its moves, [CLASSES]."""
    values = np.arange(-_COUNTED, _COUNTED + 1)
    places = group.ravel() * len(values) + moves.ravel().clip(-_COUNTED, _COUNTED) + _COUNTED
    counts = np.bincount(places, minlength=CLASSES * len(values)).reshape(CLASSES, len(values))
    return (counts @ tables.bits(values).T).argmin(axis=1)
