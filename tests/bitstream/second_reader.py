"""A second reader of .psic files, written from bitstream/FORMAT.md alone to hold the page against the package.

Standard library only, nothing of psic_cli, and slow: each function says what the page says in as few words as it can.
Start with `read_file` and `Symbols`; second_seal.py opens the seal. Everything wrong raises `Refused`.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MASK64 = 2**64 - 1
TOTAL = 2**24
SECTIONS = {
    0x01: "Z",
    0x02: "Y",
    0x03: "MOVES",
    0x04: "ALPHA",
    0x85: "ICC",
    0x86: "EXIF",
    0x87: "XMP",
    0x7F: "SEALED",
}
MUST_AND_MAY = {
    "sealed file": ({"Z", "Y", "SEALED"}, {"ALPHA", "ICC"}),
    "open file": ({"Z", "Y", "MOVES"}, {"ALPHA", "ICC", "EXIF", "XMP"}),
    "inside the seal": ({"MOVES"}, {"EXIF", "XMP"}),
}


class Refused(Exception):
    """The bytes are not what FORMAT.md describes."""


def require(fact: bool, what: str) -> None:
    if not fact:
        raise Refused(what)


# Sections 1 to 4: the container


class Bytes:
    """Bytes taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        require(count <= len(self.data) - self.at, "a length is beyond what is left")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        groups = [self.number()]
        while groups[-1] & 0x80:
            groups.append(self.number())
        require(len(groups) == 1 or groups[-1] != 0, "a varint is not in its shortest form")
        value = sum((group & 0x7F) << 7 * place for place, group in enumerate(groups))
        require(value <= 4294967295, "a varint is too large")
        return value

    def finish(self) -> None:
        require(self.at == len(self.data), "bytes are left over")


@dataclass
class File:
    sealed: bool
    grey: bool
    width: int
    height: int
    quality: int
    strength: int
    model: str
    weights_hash: bytes
    sections: dict[str, bytes]
    associated_data: bytes | None  # of a sealed file


def crc32(data: bytes) -> int:
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0xEDB88320 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


def read_file(data: bytes) -> File:
    require(data[:4] == bytes((0x8F, 0x50, 0x53, 0x0A)), "another magic")
    require(data[4:5] == b"\x01", "another version")
    require(len(data) >= 9 and struct.pack("<I", crc32(data[:-4])) == data[-4:], "the checksum differs")
    body = Bytes(data[:-4])
    body.take(5)
    header = Bytes(body.take(body.varint()))
    flags = header.number()
    width, height = header.varint(), header.varint()
    quality, strength = header.number(), header.number()
    name = header.take(header.number())
    weights_hash = header.take(8)
    header.finish()
    require(flags <= 3, "undefined flags")
    require(1 <= width <= 262144 and 1 <= height <= 262144 and width * height <= 1073741824, "the size is out of range")
    require(1 <= quality <= 100 and strength <= 100, "quality or strength is out of range")
    require(
        1 <= len(name) <= 32 and set(name) <= set(b"abcdefghijklmnopqrstuvwxyz0123456789-"), "the name is malformed"
    )
    sealed = bool(flags & 1)
    sections, starts = read_list(body, "sealed file" if sealed else "open file")
    return File(
        sealed=sealed,
        grey=bool(flags & 2),
        width=width,
        height=height,
        quality=quality,
        strength=strength,
        model=name.decode("ascii"),
        weights_hash=weights_hash,
        sections=sections,
        associated_data=data[: starts["SEALED"]] if sealed else None,
    )


def read_list(source: Bytes, place: str) -> tuple[dict[str, bytes], dict[str, int]]:
    must, may = MUST_AND_MAY[place]
    sections: dict[str, bytes] = {}
    starts: dict[str, int] = {}
    last = 0
    for _ in range(source.varint()):
        start = source.at
        identifier = source.number()
        require(identifier & 0x7F > last, "sections are repeated or out of order")
        last = identifier & 0x7F
        payload = source.take(source.varint())
        name = SECTIONS.get(identifier)
        if name is None:
            require(identifier >= 0x80, "an unknown section is required")
            continue
        require(name in must | may, "a section is out of place")
        sections[name] = payload
        starts[name] = start
    source.finish()
    require(must <= set(sections), "a section is missing")
    return sections, starts


# Sections 7 to 9: symbols


@dataclass
class Table:
    """One row of a table set: c without its padding, and the value of entry 0."""

    c: list[int]
    first: int

    @property
    def last(self) -> int:
        return self.first + len(self.c) - 3

    @property
    def escape(self) -> int:
        return len(self.c) - 2


def tables_of(cumulative: Sequence[Sequence[int]], sizes: Sequence[int], offsets: Sequence[int]) -> list[Table]:
    return [Table(list(row[: s + 2]), o) for row, s, o in zip(cumulative, sizes, offsets, strict=True)]


CLASS_C = [TOTAL - (TOTAL >> k) for k in range(22)] + [TOTAL]


def bits_c(k: int) -> range:
    """c of 2^k equally likely entries."""
    return range(0, TOTAL + 1, 2 ** (24 - k))


class Decoder:
    """The range decoder of section 8."""

    def __init__(self, payload: bytes) -> None:
        require(len(payload) % 4 == 0, "not a whole number of words")
        self.words: Iterator[int] = iter(struct.unpack(f"<{len(payload) // 4}I", payload))
        self.lower = 0
        self.range = 2**64 - 1
        self.point = next(self.words, 0) * 2**32 + next(self.words, 0)

    def entry(self, c: Sequence[int]) -> int:
        scale = self.range >> 24
        q = ((self.point - self.lower) & MASK64) // scale
        require(q < TOTAL, "the data is damaged")
        low, high = 0, len(c) - 1  # c[low] <= q < c[high]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if c[middle] <= q else (low, middle)
        self.lower = (self.lower + scale * c[low]) & MASK64
        self.range = scale * (c[low + 1] - c[low])
        if self.range < 2**32:
            self.lower = self.lower << 32 & MASK64
            self.range <<= 32
            self.point = (self.point << 32 & MASK64) + next(self.words, 0)
        return low


class Encoder:
    """The range encoder of section 8, with `lower` as one long number."""

    def __init__(self) -> None:
        self.lower = 0
        self.range = 2**64 - 1
        self.shifts = 0

    def entry(self, c: Sequence[int], i: int) -> None:
        scale = self.range >> 24
        self.lower += scale * c[i]
        self.range = scale * (c[i + 1] - c[i])
        if self.range < 2**32:
            self.lower <<= 32
            self.range <<= 32
            self.shifts += 1

    def payload(self) -> bytes:
        if self.range == 2**64 - 1:  # nothing was coded
            return b""
        u = (self.lower + 2**32 - 1) >> 32
        words = [u >> 32 * place & 0xFFFFFFFF for place in range(self.shifts, -1, -1)]
        if (self.lower + self.range) >> 32 == u:
            words.append(0)
        return struct.pack(f"<{len(words)}I", *words)


def encode_batch(encoder: Encoder, symbols: Sequence[int], indexes: Sequence[int], tables: Sequence[Table]) -> None:
    escaped = []
    for position in sorted(range(len(indexes)), key=lambda position: indexes[position]):
        table, v = tables[indexes[position]], symbols[position]
        if table.first <= v <= table.last:
            encoder.entry(table.c, v - table.first)
        else:
            encoder.entry(table.c, table.escape)
            escaped.append(2 * (v - table.last) - 1 if v > table.last else 2 * (table.first - v))
    for w in escaped:
        encoder.entry(CLASS_C, w.bit_length() - 1)
    for k in range(1, 22):
        for w in escaped:
            if w.bit_length() - 1 == k:
                encoder.entry(bits_c(k), w - 2**k)


class Symbols:
    """The batches in a payload, one after the other."""

    def __init__(self, payload: bytes) -> None:
        self.payload, self.decoder, self.again = payload, Decoder(payload), Encoder()

    def batch(self, indexes: Sequence[int], tables: Sequence[Table]) -> list[int]:
        decoder = self.decoder
        symbols = [0] * len(indexes)
        escaped = []
        for position in sorted(range(len(indexes)), key=lambda position: indexes[position]):
            table = tables[indexes[position]]
            entry = decoder.entry(table.c)
            symbols[position] = table.first + entry
            if entry == table.escape:
                escaped.append(position)
        classes = [decoder.entry(CLASS_C) for _ in escaped]
        for k in range(22):
            for position, own in zip(escaped, classes, strict=True):
                if own == k:
                    w = 2**k + (decoder.entry(bits_c(k)) if k else 0)
                    table = tables[indexes[position]]
                    symbols[position] = table.last + (w + 1) // 2 if w % 2 else table.first - w // 2
        require(all(abs(symbol) <= 1048576 for symbol in symbols), "a symbol is too large")
        encode_batch(self.again, symbols, indexes, tables)
        return symbols

    def finish(self) -> None:
        require(self.again.payload() == self.payload, "the payload has another spelling")


def encode_symbols(symbols: Sequence[int], indexes: Sequence[int], tables: Sequence[Table]) -> bytes:
    encoder = Encoder()
    encode_batch(encoder, symbols, indexes, tables)
    return encoder.payload()


def decode_symbols(payload: bytes, indexes: Sequence[int], tables: Sequence[Table]) -> list[int]:
    source = Symbols(payload)
    symbols = source.batch(indexes, tables)
    source.finish()
    return symbols
