"""The integers of a .psic file, found a second time: from FORMAT.md sections 6, 7, 10 and 11 and the model's two files.

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

from tests.bitstream import second_reader, second_seal
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
    y: list[int]
    moves: list[int] | None  # not without the key of a sealed file


def read_integers(data: bytes, weights: bytes, card: dict[str, Any], secret: bytes | None = None) -> Integers:
    """All symbols in the file, each array flattened as section 6 says. card: the model's card.json."""
    file = second_reader.read_file(data)
    require(hashlib.sha256(weights).digest()[:8] == file.weights_hash, "the file needs other weights")
    sections = dict(file.sections)
    if file.sealed and secret is not None:
        assert file.associated_data is not None
        sections |= second_seal.open_seal(secret, sections["SEALED"], file.associated_data)
    tensors, sizes = read_tensors(weights), card["network"]
    rows, columns = -(-file.height // 64), -(-file.width // 64)

    levels = tensors["scaling.offset"].shape[0]
    level = level_of(file.quality, min(file.height, file.width), sizes)
    channels = range(sizes["hyper_latents"])
    first = (level * sizes["z_bands"] // levels) * len(channels)
    indexes_of_z = [first + channel for channel in channels for _ in range(rows * columns)]
    z = second_reader.decode_symbols(sections["Z"], indexes_of_z, tables_of(tensors, "tables.z"))
    require(all(-127 <= v <= 127 for v in z), "a symbol of z is out of range")

    features = features_of(planes_of(z, len(channels), rows, columns), level, tensors)
    index = indexes_from_z(features, level, tensors)
    tables = tables_of(tensors, "tables.y")
    steps: list[list[tuple[int, int, int]]] = [[], [], [], []]
    for m in range(sizes["latents"]):
        for i in range(4 * rows):
            for j in range(4 * columns):
                steps[2 * ((m + i + j) % 2) + (m // 2 + i) % 2].append((m, i, j))
    source = second_reader.Symbols(sections["Y"])
    y = planes_of([0] * (sizes["latents"] * 16 * rows * columns), sizes["latents"], 4 * rows, 4 * columns)
    for step, places in enumerate(steps):
        if step:
            corrections = corrections_of_index(step, y, features, index, level, tensors)
            for m, i, j in places:
                index[m][i][j] = min(63, max(0, index[m][i][j] + corrections[m][i][j]))
        found = source.batch([index[m][i][j] for m, i, j in places], tables)
        for (m, i, j), value in zip(places, found, strict=True):
            y[m][i][j] = value
    source.finish()
    moves = decode_moves(sections["MOVES"], y, index) if "MOVES" in sections else None
    return Integers(z, flat(y), None if moves is None else flat(moves))


def planes_of(values: list[int], channels: int, rows: int, columns: int) -> Planes:
    lines = [values[start : start + columns] for start in range(0, len(values), columns)]
    return [lines[channel * rows : (channel + 1) * rows] for channel in range(channels)]


def flat(planes: Planes) -> list[int]:
    return [value for plane in planes for row in plane for value in row]


# Section 11

BY_INDEX = [16, 24, 180, 630, 1800, 3100, 3500, 3500, 3300, 3100, 2900, 2700, 2400, 2200, 2000, 2000]
TOWARDS = [14, 14, 14, 14, 13, 12, 10, 9, 9, 8, 8, 8, 8, 8, 8, 8]


def thresholds() -> list[int]:
    t = [1]
    while t[-1] + max(1, t[-1] // 3) <= 49152:
        t.append(t[-1] + max(1, t[-1] // 3))
    return t


def chance_table(t: int) -> second_reader.Table:
    return second_reader.Table([0, 2**24 - 1 - 256 * t, 2**24 - 1, 2**24], 0)


def kind_table(share: int) -> second_reader.Table:
    c = [0]
    for n in range(4):
        f = 2**24 // 32**n - 2**24 // 32 ** (n + 1)
        c += [c[-1] + f * share // 16, c[-1] + f]
    return second_reader.Table([*c, 2**24], 0)


def decode_moves(payload: bytes, y: Planes, index: Planes) -> Planes:
    channels, height, width = len(y), len(y[0]), len(y[0][0])
    moves = [[[0] * width for _ in range(height)] for _ in range(channels)]
    if not payload:
        return moves
    prior = [BY_INDEX[k // 2] * q // 4 for k in range(32) for q in (3, 4, 6, 6)]
    t = thresholds()
    flag_tables = [chance_table(chance) for chance in t]
    latents, found = [0] * 128, [0] * 128
    expected = [[0] * width for _ in range(height)]
    counted = [[0] * width for _ in range(height)]
    source = second_reader.Symbols(payload)
    moved = []
    for g in range(min(16, channels)):
        seen = 2**16 + sum(latents[c] * prior[c] for c in range(128))
        r = ((sum(found) + 1) * 2**24) // seen
        p = [(2**16 * found[c] + 128 * r * prior[c] // 256) // (latents[c] + 128) for c in range(128)]
        places = [(m, i, j) for m in range(g, channels, 16) for i in range(height) for j in range(width)]
        classes = [4 * (index[m][i][j] // 2) + min(3, abs(y[m][i][j])) for m, i, j in places]

        def near(planes: Plane, i: int, j: int) -> int:
            rows, columns = range(max(0, i - 1), min(height, i + 2)), range(max(0, j - 1), min(width, j + 2))
            return 3 * planes[i][j] + sum(planes[a][b] for a in rows for b in columns)

        tables = []
        for (_, i, j), c in zip(places, classes, strict=True):
            q = ((near(counted, i, j) + 2) * 2**32) // (near(expected, i, j) + 2 * 2**16)
            chance = p[c] * q // 2**16
            tables.append(max(0, sum(1 for one in t if one <= chance) - 1))
        flags = source.batch(tables, flag_tables)
        require(all(flag in (0, 1) for flag in flags), "there neither is a move nor is there none")
        for (m, i, j), c, flag in zip(places, classes, flags, strict=True):
            latents[c] += 1
            found[c] += flag
            expected[i][j] += p[c]
            counted[i][j] += flag
            if flag:
                moved.append((m, i, j))
    moved.sort()
    shares = [8 if y[m][i][j] == 0 else TOWARDS[index[m][i][j] // 4] for m, i, j in moved]
    kinds = source.batch(shares, [kind_table(max(1, share)) for share in range(16)])
    source.finish()
    require(len(kinds) > 0, "there is no move")
    require(all(0 <= kind < 65536 for kind in kinds), "a move is too large")
    for (m, i, j), kind in zip(moved, kinds, strict=True):
        towards = -1 if y[m][i][j] > 0 else 1
        moves[m][i][j] = (kind // 2 + 1) * (towards if kind % 2 == 0 else -towards)
    return moves


def sha256(symbols: Sequence[int]) -> str:
    """Of the symbols as little-endian 32-bit integers."""
    return hashlib.sha256(struct.pack(f"<{len(symbols)}i", *symbols)).hexdigest()
