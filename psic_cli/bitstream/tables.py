"""Integer probability tables: what the range coder uses, built once at export and then only stored and loaded.

Encoder and decoder must use the same integers: never rebuild a table from floats on the way to or from a bitstream.
No torch here. Start with `TableSet`; layout and rules are in FORMAT.md section 6.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# constriction's own fixed-point precision: whatever it is given, it codes with frequencies that add up to 2**24.
PRECISION = 24
TOTAL = 2**PRECISION

# In-table values lie in -MAX_IN_TABLE..MAX_IN_TABLE; what lies outside is escaped.
MAX_IN_TABLE = 2**15
MAX_TABLES = 2**12

# 0.11: the smallest scale of Balle et al. 2018, where all but one symbol in 200,000 are 0; 128: wider than latents get.
SMALLEST_SCALE, LARGEST_SCALE, N_SCALES = 0.11, 128.0, 64
SCALES: npt.NDArray[np.float64] = np.exp(np.linspace(math.log(SMALLEST_SCALE), math.log(LARGEST_SCALE), N_SCALES))
SCALES.setflags(write=False)

# A table of latents ends where the mass beyond it falls to 2**-16: an escape then costs about what a table entry would.
_TAIL_MASS = 2.0**-16
# Real latents have heavier tails than a Gaussian: no escape costs more than 17 bits. Other symbols pay 1e-5 bit for it.
_ESCAPE_FLOOR = 2.0**-17

# Symbols that training must have seen with a scale before their statistics weigh as much as the Gaussian's.
_TRUST = 1000.0

_FIELDS = ("cumulative", "sizes", "offsets")


@dataclass(frozen=True, eq=False)
class TableSet:
    """Cumulative frequency tables, one per row; checked on construction (`ValueError`) and read-only afterwards.

    cumulative: int32 [n_tables, max(sizes) + 2]. Row t is 0 = c_0 < c_1 < ... < c_{sizes[t] + 1} = 2**24, and 2**24 on.
    sizes: int32 [n_tables], in-table symbols, the escape excluded, at least 1.
    offsets: int32 [n_tables], the value of the first in-table symbol.

    Value v of table t is entry i = v - offsets[t] with frequency c_{i+1} - c_i; entry sizes[t] is the escape.
    """

    cumulative: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        for name, rank in zip(_FIELDS, (2, 1, 1), strict=True):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != rank:
                raise ValueError(f"tables: {name} is not an int32 array of rank {rank}")
            # A copy in C order: nobody can change a checked table, and rows can be handed out as they are.
            copy = np.array(array, dtype=np.int32, order="C")
            copy.setflags(write=False)
            object.__setattr__(self, name, copy)
        _check_tables(self.cumulative, self.sizes, self.offsets)

    def __len__(self) -> int:
        return len(self.sizes)

    def row(self, table: int) -> npt.NDArray[np.int32]:
        """The cumulative frequencies of one table without padding: int32 [sizes[table] + 2]."""
        return self.cumulative[table, : int(self.sizes[table]) + 2]

    def bits(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """About how many bits each table takes for each of some values: [n_tables, values]. For an encoder's choices;
        no decoder needs it.
        """
        costs = np.empty((len(self), len(values)))
        for table in range(len(self)):
            of_entries = -np.log2(np.diff(self.row(table)) / TOTAL)
            entries = values - int(self.offsets[table])
            beyond = np.maximum(entries - int(self.sizes[table]) + 1, -entries)  # 1 for the first outside
            inside = beyond < 1
            costs[table, inside] = of_entries[entries[inside]]
            costs[table, ~inside] = of_entries[-1] + 2 * np.log2(2 * beyond[~inside])  # as an exp-Golomb code
        return costs

    def to_arrays(self, prefix: str) -> dict[str, npt.NDArray[np.int32]]:
        """The three arrays under their names in weights.safetensors: `prefix` + ".cumulative", ".sizes", ".offsets"."""
        return {f"{prefix}.{name}": getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.int32]], prefix: str) -> "TableSet":
        """The inverse of `to_arrays`; `ValueError` if an array is missing or the tables are not valid."""
        missing = [f"{prefix}.{name}" for name in _FIELDS if f"{prefix}.{name}" not in arrays]
        if missing:
            raise ValueError(f"tables: {missing[0]} is missing")
        return cls(*(arrays[f"{prefix}.{name}"] for name in _FIELDS))


def symbol_tables(counts: npt.ArrayLike | None = None) -> TableSet:
    """One table for each of SCALES. For export alone.

    counts: how often training has seen a symbol of magnitude 0, 1, 2 ... with each scale, [len(SCALES), magnitudes],
    its last column for all that are larger. Where it has seen few, and without counts, a table is a Gaussian of mean 0
    integrated over unit bins.
    """
    seen = np.zeros((N_SCALES, 2)) if counts is None else np.asarray(counts, dtype=np.float64)
    return tables_from_probabilities(
        [_counted(_gaussian_bins(float(s)), row) for s, row in zip(SCALES, seen, strict=True)]
    )


def tables_from_probabilities(tables: Sequence[tuple[int, npt.NDArray[np.float64]]]) -> TableSet:
    """Quantise probability mass functions. For export alone.

    Each table is (value of the first symbol, probabilities float64 [size]). What they lack to a sum of 1 is the
    escape's, at least 2**-17. Every frequency becomes at least 1. `ValueError` for numbers negative or not finite, a
    sum of 0 or beyond 1, and tables that leave -MAX_IN_TABLE..MAX_IN_TABLE.
    """
    rows = [_quantise(probabilities) for _, probabilities in tables]
    if not rows:
        raise ValueError("tables: at least one table is needed")
    sizes = np.array([len(row) - 2 for row in rows], dtype=np.int32)
    cumulative = np.full((len(rows), int(sizes.max()) + 2), TOTAL, dtype=np.int32)
    for target, row in zip(cumulative, rows, strict=True):
        target[: len(row)] = row
    return TableSet(cumulative, sizes, np.array([offset for offset, _ in tables], dtype=np.int32))


def without_tails(
    probabilities: npt.NDArray[np.float64], first: int, tail_mass: float = _TAIL_MASS
) -> tuple[int, npt.NDArray[np.float64]]:
    """A table of probabilities [n] of the symbols first, first + 1 ... without what escapes on each side: the value of
    its own first symbol, and its probabilities.
    """
    row = probabilities / max(1.0, probabilities.sum())
    below, above = np.cumsum(row), np.cumsum(row[::-1])[::-1]
    inside = np.flatnonzero((below > tail_mass) & (above > tail_mass))
    if not len(inside):
        raise ValueError("tables: a channel has no probable symbol")
    start, end = int(inside[0]), int(inside[-1]) + 1
    return first + start, row[start:end]


def _counted(gaussian: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> tuple[int, npt.NDArray[np.float64]]:
    """First symbol and probabilities of a table, from what a Gaussian gives the magnitudes 0, 1, 2 ... and from counts
    of them, the last of all that are larger.
    """
    expected = np.zeros(max(len(gaussian), len(counts) - 1) + 1)
    expected[: len(gaussian)] = gaussian
    expected[-1] = 1.0 - gaussian.sum()  # all that are larger
    seen = np.zeros_like(expected)
    seen[: len(counts) - 1], seen[-1] = counts[:-1], counts[-1]
    share = (seen + _TRUST * expected) / (seen.sum() + _TRUST)
    beyond = np.cumsum(share[::-1])[::-1]
    size = max(2, int((beyond > _TAIL_MASS).sum()))
    right = share[1 : min(size, len(share) - 1)] / 2
    return -len(right), np.array([*right[::-1], share[0], *right], dtype=np.float64)


def _gaussian_bins(scale: float) -> npt.NDArray[np.float64]:
    """Probabilities of the magnitudes 0, 1, 2 ..."""

    def upper_tail(x: float) -> float:
        return 0.5 * math.erfc(x / (scale * math.sqrt(2.0)))

    half_width = 1
    while 2.0 * upper_tail(half_width + 0.5) > _TAIL_MASS:
        half_width += 1
    # differences of upper tails, mirrored: exact in the far bins, where 1 - erf would cancel, and symmetric
    right = [upper_tail(value - 0.5) - upper_tail(value + 0.5) for value in range(1, half_width + 1)]
    centre = 1.0 - 2.0 * upper_tail(0.5)
    return np.array([centre, *(2.0 * tail for tail in right)], dtype=np.float64)


def _quantise(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Cumulative frequencies [size + 2] of the given symbols followed by the escape."""
    given = np.asarray(probabilities, dtype=np.float64)
    if given.ndim != 1 or not 1 <= len(given) <= 2 * MAX_IN_TABLE + 1:
        raise ValueError(f"tables: probabilities of shape {given.shape} are not 1..{2 * MAX_IN_TABLE + 1} numbers")
    if not np.all(np.isfinite(given)) or np.any(given < 0):
        raise ValueError("tables: a probability is negative or not finite")
    total = math.fsum(given)
    if not 0.0 < total <= 1.0 + 1e-6:
        raise ValueError(f"tables: probabilities add up to {total}, not to more than 0 and at most 1")
    escape = max(1.0 - total, _ESCAPE_FLOOR)
    weights = np.append(given * ((1.0 - escape) / total), escape)
    # One for every entry, the rest in proportion; what rounding leaves goes to the likeliest, where it matters least.
    frequencies = 1 + np.floor(weights * (TOTAL - len(weights))).astype(np.int64)
    frequencies[np.argmax(frequencies)] += TOTAL - int(frequencies.sum())
    return np.concatenate(([0], np.cumsum(frequencies)))


def _check_tables(
    cumulative: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32], offsets: npt.NDArray[np.int32]
) -> None:
    count = len(sizes)
    if not 1 <= count <= MAX_TABLES or len(offsets) != count or len(cumulative) != count:
        found = f"{len(cumulative)} rows, {count} sizes and {len(offsets)} offsets"
        raise ValueError(f"tables: {found} are not one number in 1..{MAX_TABLES}")
    first = offsets.astype(np.int64)
    last = first + sizes - 1
    if sizes.min() < 1 or first.min() < -MAX_IN_TABLE or last.max() > MAX_IN_TABLE:
        raise ValueError(f"tables: a table is empty or leaves -{MAX_IN_TABLE}..{MAX_IN_TABLE}")
    width = int(sizes.max()) + 2
    if cumulative.shape[1] != width:
        raise ValueError(f"tables: rows of {cumulative.shape[1]} numbers where the largest table needs {width}")
    if np.any(cumulative[:, 0] != 0) or np.any(cumulative[:, -1] != TOTAL):
        raise ValueError(f"tables: a row does not run from 0 to {TOTAL}")
    # Bounds first: int32 differences of numbers in 0..2**24 cannot wrap.
    if cumulative.min() < 0 or cumulative.max() > TOTAL:
        raise ValueError(f"tables: a number leaves 0..{TOTAL}")
    real = np.arange(width - 1)[None, :] <= sizes[:, None]
    if np.any((np.diff(cumulative, axis=1) > 0) != real):
        raise ValueError("tables: a frequency is below 1, or the padding is not the last number repeated")
