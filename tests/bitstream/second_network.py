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


def convolve(weight: Tensor, bias: Tensor, planes: Planes) -> Planes:
    outputs, inputs, kernel, _ = weight.shape
    require(inputs == len(planes), "the layer has another number of inputs")
    height, width = len(planes[0]), len(planes[0][0])

    def acc(o: int, i: int, j: int) -> int:
        total = bias.at(o)
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


def outputs(z: Planes, tensors: dict[str, Tensor]) -> Planes:
    """acc of layer 5."""
    h = z
    for k in range(6):
        h = convolve(tensors[f"h_s.{k}.weight"], tensors[f"h_s.{k}.bias"], h)
        if k < 5:
            h = activate(h, 5 if k == 0 else 9)
        if k in (1, 3):
            h = shuffle(h)
    return h


def level_of(quality: int, levels: int) -> int:
    return ((quality - 1) * (levels - 1) * 2 + 99) // 198


def means_and_indexes(z: Planes, quality: int, tensors: dict[str, Tensor]) -> tuple[list[int], list[int]]:
    """For each symbol of y, in the order of section 6: mean in sixteenths, table index."""
    require(all(-127 <= v <= 127 for plane in z for row in plane for v in row), "a symbol of z is out of range")
    acc = outputs(z, tensors)
    gain, offset = tensors["scaling.gain"], tensors["scaling.offset"]
    level, channels = level_of(quality, gain.shape[0]), len(acc) // 2
    means, indexes = [], []
    for m in range(channels):
        for row in acc[m]:
            for value in row:
                mean0 = min(4095, max(-4095, (value + 32) // 64))
                means.append((mean0 * gain.at(level, m) + 512) // 1024)
        for row in acc[channels + m]:
            for value in row:
                index0 = (value + 256) // 512
                indexes.append(min(63, max(0, index0 + offset.at(level, m))))
    return means, indexes


# Sections 6 and 7


def tables_of(tensors: dict[str, Tensor], prefix: str) -> list[second_reader.Table]:
    cumulative, sizes, offsets = (tensors[f"{prefix}.{name}"] for name in ("cumulative", "sizes", "offsets"))
    return second_reader.tables_of(cumulative.rows(), sizes.values, offsets.values)


@dataclass
class Integers:
    z: list[int]
    y_public: list[int]
    y_private: list[int] | None  # without the key of a sealed file


def read_integers(data: bytes, weights: bytes, card: dict[str, Any], secret: bytes | None = None) -> Integers:
    """All symbols in the file, each array flattened as section 6 says. card: the model's card.json."""
    file = second_reader.read_file(data)
    require(hashlib.sha256(weights).digest()[:8] == file.weights_hash, "the file needs other weights")
    sections = dict(file.sections)
    if file.sealed and secret is not None:
        assert file.associated_data is not None
        sections |= second_reader.open_seal(secret, sections["SEALED"], file.associated_data)
    tensors, sizes = read_tensors(weights), card["network"]
    rows, columns = -(-file.height // 64), -(-file.width // 64)

    channels = range(sizes["hyper_latents"])
    indexes_of_z = [channel for channel in channels for _ in range(rows * columns)]
    z = second_reader.decode_symbols(sections["Z"], indexes_of_z, tables_of(tensors, "tables.z"))
    starts = range(0, len(z), columns)
    lines = [z[start : start + columns] for start in starts]
    planes = [lines[channel * rows : (channel + 1) * rows] for channel in channels]

    _, indexes = means_and_indexes(planes, file.quality, tensors)
    split = (sizes["latents"] - sizes["private"]) * 16 * rows * columns
    tables = tables_of(tensors, "tables.y")
    public = second_reader.decode_symbols(sections["Y_PUBLIC"], indexes[:split], tables)
    private = None
    if "Y_PRIVATE" in sections:
        private = second_reader.decode_symbols(sections["Y_PRIVATE"], indexes[split:], tables)
    return Integers(z, public, private)


def sha256(symbols: Sequence[int]) -> str:
    """Of the symbols as little-endian 32-bit integers."""
    return hashlib.sha256(struct.pack(f"<{len(symbols)}i", *symbols)).hexdigest()
