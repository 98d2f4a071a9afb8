"""The integers of a .psic file, found a second time: from FORMAT.md sections 6, 7 and 10 and the model's two files.

Standard library only, as second_reader.py, whose container, seal and range decoder it uses: plain Python integers and
loops, no array library. Start with `read_integers`.
"""

import hashlib
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bitstream import second_reader
from tests.bitstream.second_reader import require

Plane = list[list[int]]  # rows
Planes = list[Plane]  # channels

ITEMS = {"I16": "h", "I32": "i"}  # the floats in the file decide no symbol and are not read


@dataclass
class Tensor:
    shape: list[int]
    values: tuple[int, ...]  # the last index runs fastest

    def at(self, *indexes: int) -> int:
        place = 0
        for size, index in zip(self.shape, indexes, strict=True):
            place = place * size + index
        return self.values[place]

    def rows(self) -> list[list[int]]:
        width = self.shape[1]
        return [list(self.values[start : start + width]) for start in range(0, len(self.values), width)]


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """The integer tensors of a safetensors file: length of a JSON header (8 bytes), the header, the numbers."""
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if entry.get("dtype") in ITEMS:
            first, last = entry["data_offsets"]
            layout = f"<{math.prod(entry['shape'])}{ITEMS[entry['dtype']]}"
            tensors[name] = Tensor(entry["shape"], struct.unpack(layout, data[8 + length + first : 8 + length + last]))
    return tensors


# Section 10


def convolve(tensors: dict[str, Tensor], layer: str, level: int, planes: Planes) -> Planes:
    weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]
    of_levels = tensors.get(f"{layer}.level_bias")
    outputs, inputs, kernel, _ = weight.shape
    require(inputs == len(planes), "the layer has another number of inputs")
    height, width = len(planes[0]), len(planes[0][0])

    def acc(o: int, i: int, j: int) -> int:
        total = bias.at(o) + (of_levels.at(level, o) if of_levels else 0)
        for a in range(kernel):
            for b in range(kernel):
                y, x = i + a - kernel // 2, j + b - kernel // 2
                if 0 <= y < height and 0 <= x < width:
                    total += sum(weight.at(o, c, a, b) * planes[c][y][x] for c in range(inputs))
        return total

    return [[[acc(o, i, j) for j in range(width)] for i in range(height)] for o in range(outputs)]


def activate(planes: Planes, s: int) -> Planes:
    return [[[min(255, max(0, (acc + 2 ** (s - 1)) // 2**s)) for acc in row] for row in plane] for plane in planes]


def shuffle(planes: Planes) -> Planes:
    height, width = len(planes[0]), len(planes[0][0])
    return [
        [[planes[4 * c + 2 * (i % 2) + j % 2][i // 2][j // 2] for j in range(2 * width)] for i in range(2 * height)]
        for c in range(len(planes) // 4)
    ]


def features_of(z: Planes, level: int, tensors: dict[str, Tensor]) -> Planes:
    """The output of layer 4: what both means and indexes are made from."""
    h = z
    for k in range(5):
        h = activate(convolve(tensors, f"h_s.{k}", level, h), 5 if k == 0 else 9)
        if k in (1, 3):
            h = shuffle(h)
    return h


def level_of(quality: int, short_side: int, sizes: dict[str, int]) -> int:
    most = max(224, sizes.get("even_from", 0))
    side = min(max(224, short_side), most)
    b, a = (quality - 1) * most * most, (100 - quality) * side * side
    return (2 * b * (sizes["levels"] - 1) + b + a) // (2 * (b + a))


def indexes_from_z(features: Planes, level: int, tensors: dict[str, Tensor]) -> Planes:
    """The table index of every symbol of y as far as z tells it. Means decide no symbol and are left out."""
    acc = convolve(tensors, "h_s.5", level, features)
    offset, channels = tensors["scaling.offset"], len(acc) // 2
    return [
        [[min(63, max(0, (v + 256) // 512 + offset.at(level, m))) for v in row] for row in acc[channels + m]]
        for m in range(channels)
    ]


def corrections_of_index(
    step: int, known: Planes, features: Planes, index: Planes, level: int, tensors: dict[str, Tensor]
) -> Planes:
    """What the context model of a step adds to its indexes."""

    def layer(k: int, planes: Planes) -> Planes:
        return convolve(tensors, f"context.{step}.{k}", level, planes)

    seen_channels = known[len(known) - tensors[f"context.{step}.0.weight"].shape[1] :]
    clamped = [[[min(63, max(-63, v)) for v in row] for row in plane] for plane in seen_channels]
    seen, expected = layer(0, clamped), layer(1, features + index)
    h = [
        [
            [min(255, max(0, (s + 16) // 32 + (e + 256) // 512)) for s, e in zip(*rows, strict=True)]
            for rows in zip(*planes, strict=True)
        ]
        for planes in zip(seen, expected, strict=True)
    ]
    acc = layer(3, activate(layer(2, h), 9))
    return [[[min(64, max(-64, (v + 256) // 512)) for v in row] for row in plane] for plane in acc[len(acc) // 2 :]]


# Sections 6 and 7


def tables_of(tensors: dict[str, Tensor], prefix: str) -> list[second_reader.Table]:
    cumulative, sizes, offsets = (tensors[f"{prefix}.{name}"] for name in ("cumulative", "sizes", "offsets"))
    return second_reader.tables_of(cumulative.rows(), sizes.values, offsets.values)


@dataclass
class Integers:
    z: list[int]
    y_public: list[int]
    y_private: list[int] | None  # not without the key of a sealed file, and not in a hardened one
    refinement: list[int] | None = None  # of a hardened file, with the key


def read_integers(data: bytes, weights: bytes, card: dict[str, Any], secret: bytes | None = None) -> Integers:
    """All symbols in the file, each array flattened as section 6 says. card: the model's card.json."""
    file = second_reader.read_file(data)
    require(hashlib.sha256(weights).digest()[:8] == file.weights_hash, "the file needs other weights")
    sections = dict(file.sections)
    if file.sealed and secret is not None:
        assert file.associated_data is not None
        hardened = file.public_quality is not None
        sections |= second_reader.open_seal(secret, sections["SEALED"], file.associated_data, hardened)
    tensors, sizes = read_tensors(weights), card["network"]
    rows, columns = -(-file.height // 64), -(-file.width // 64)

    levels = tensors["scaling.offset"].shape[0]
    level = level_of(file.public_quality or file.quality, min(file.height, file.width), sizes)
    channels = range(sizes["hyper_latents"])
    first = (level * sizes["z_bands"] // levels) * len(channels)
    indexes_of_z = [first + channel for channel in channels for _ in range(rows * columns)]
    z = second_reader.decode_symbols(sections["Z"], indexes_of_z, tables_of(tensors, "tables.z"))
    starts = range(0, len(z), columns)
    lines = [z[start : start + columns] for start in starts]
    planes = [lines[channel * rows : (channel + 1) * rows] for channel in channels]

    require(all(-127 <= v <= 127 for v in z), "a symbol of z is out of range")
    features = features_of(planes, level, tensors)
    index = indexes_from_z(features, level, tensors)
    tables = tables_of(tensors, "tables.y")
    count, public_count = sizes["latents"], sizes["latents"] - sizes["private"]
    cells = [(c, i, j) for c in range(count) for i in range(4 * rows) for j in range(4 * columns)]
    steps: list[list[tuple[int, int, int]]] = [[], [], [], []]
    for c, i, j in cells:
        if c < public_count:
            steps[2 * ((c + i + j) % 2) + (c // 2 + i) % 2].append((c, i, j))
    sealed = [(c, i, j) for c, i, j in cells if c >= public_count]

    public = second_reader.Bytes(sections["Y_PUBLIC"])
    symbols = [[[0] * (4 * columns) for _ in range(4 * rows)] for _ in range(count)]

    def read(places: list[tuple[int, int, int]], data: bytes) -> None:
        found = second_reader.decode_symbols(data, [index[c][i][j] for c, i, j in places], tables)
        for (c, i, j), value in zip(places, found, strict=True):
            symbols[c][i][j] = value

    for step, places in enumerate(steps):
        if step:
            # No private symbol is known.
            corrections = corrections_of_index(step, symbols, features, index, level, tensors)
            for c, i, j in places + (sealed if step == 3 else []):
                index[c][i][j] = min(63, max(0, index[c][i][j] + corrections[c][i][j]))
        read(places, public.data[public.at :] if step == 3 else public.take(public.varint()))
    private = None
    if "Y_PRIVATE" in sections:
        read(sealed, sections["Y_PRIVATE"])
        private = [symbols[c][i][j] for c, i, j in sealed]
    moves = None
    if "REFINEMENT" in sections:
        known, indexes = ([planes[c][i][j] for c, i, j in cells] for planes in (symbols, index))
        found = decode_refinement(sections["REFINEMENT"], known, indexes, tables)
        moves = [move for move, _ in found]
    return Integers(z, [v for plane in symbols[:public_count] for row in plane for v in row], private, moves)


def decode_refinement(
    payload: bytes, symbols: Sequence[int], indexes: Sequence[int], tables: Sequence[second_reader.Table]
) -> list[tuple[int, int]]:
    """For each symbol its move, and what is added to that, in sixteenths."""
    require(len(payload) >= 96, "the refinement is too short")
    table_of, shift_of = payload[0:96:2], payload[1:96:2]
    require(max(table_of) <= 63 and max(shift_of) <= 15 and not any(shift_of[0::3]), "a table or a shift is too large")
    classes = [3 * (k // 4) + min(abs(s), 2) for s, k in zip(symbols, indexes, strict=True)]
    moves = second_reader.decode_symbols(payload[96:], [table_of[c] for c in classes], tables)
    signs = [(s > 0) - (s < 0) for s in symbols]
    return [(move, -sign * shift_of[c]) for move, sign, c in zip(moves, signs, classes, strict=True)]


def sha256(symbols: Sequence[int]) -> str:
    """Of the symbols as little-endian 32-bit integers."""
    return hashlib.sha256(struct.pack(f"<{len(symbols)}i", *symbols)).hexdigest()
