"""The .psic container: a header, a list of sections and a checksum, as bytes (FORMAT.md sections 1 to 4).

Nothing here knows what a section's payload means, and nothing here imports torch or numpy. Start with `pack` and `unpack`.

Two kinds of errors: bytes that are wrong give `FormatError` (for people), values that a caller got wrong give `ValueError`.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from psic_cli.errors import FormatError

# A byte above 127 and a line break: a transfer that clears the eighth bit or rewrites line ends damages the first four bytes.
MAGIC = b"\x8fPS\n"
VERSION = 1

MAX_SIDE = 2**18  # pixels
MAX_PIXELS = 2**30  # width * height; what a decoder can afford is its own, lower limit
MAX_LENGTH = 2**32 - 1  # the largest number that a varint may hold, hence bytes in one section

MIN_QUALITY, MAX_QUALITY = 1, 100
MAX_STRENGTH = 100  # percent
MAX_MODEL_NAME = 32  # characters
WEIGHTS_HASH_BYTES = 8
CHECKSUM_BYTES = 4

_FLAG_SEALED = 0x01
_FLAG_GREY = 0x02
_NAME_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")


class Section(IntEnum):
    """What a section holds. Bit 7 set: a reader that does not know the id may skip the section; clear: it must refuse the file.

    The low seven bits give the place in the file (ascending), so that SEALED, which authenticates all before it, is last.
    """

    Z = 0x01
    Y_PUBLIC = 0x02
    Y_PRIVATE = 0x03
    ALPHA = 0x04
    ICC = 0x85
    EXIF = 0x86
    XMP = 0x87
    SEALED = 0x7F


_OPTIONAL_BIT = 0x80
_ORDER_BITS = 0x7F


@dataclass(frozen=True)
class _Place:
    """Which sections one list may hold, and which it must."""

    name: str
    allowed: frozenset[Section]
    needed: tuple[Section, ...]


_IN_SEALED_FILE = _Place(
    "a sealed file",
    frozenset({Section.Z, Section.Y_PUBLIC, Section.ALPHA, Section.ICC, Section.SEALED}),
    (Section.Z, Section.Y_PUBLIC, Section.SEALED),
)
_IN_OPEN_FILE = _Place(
    "an open file",
    frozenset(Section) - {Section.SEALED},
    (Section.Z, Section.Y_PUBLIC, Section.Y_PRIVATE),
)
_INSIDE_SEAL = _Place(
    "the sealed part",
    frozenset({Section.Y_PRIVATE, Section.EXIF, Section.XMP}),
    (Section.Y_PRIVATE,),
)


@dataclass(frozen=True)
class Header:
    """What a .psic file says about itself; `ValueError` for anything outside the ranges.

    width, height: pixels, 1..MAX_SIDE, at most MAX_PIXELS together. quality: 1..100. strength: shield strength in percent, 0..100.
    model: 1..32 characters of a-z, 0-9 and "-". weights_hash: the first 8 bytes of SHA-256 of the model's weights file.
    sealed: the private sections are inside SEALED. grey: the source had one colour channel.
    """

    width: int
    height: int
    quality: int
    strength: int
    model: str
    weights_hash: bytes
    sealed: bool
    grey: bool = False

    def __post_init__(self) -> None:
        _check_range("width", self.width, 1, MAX_SIDE)
        _check_range("height", self.height, 1, MAX_SIDE)
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(f"{self.width} x {self.height} is more than {MAX_PIXELS} pixels")
        _check_range("quality", self.quality, MIN_QUALITY, MAX_QUALITY)
        _check_range("strength", self.strength, 0, MAX_STRENGTH)
        name = self.model.encode("ascii", errors="replace")
        if not 1 <= len(name) <= MAX_MODEL_NAME or not _NAME_CHARACTERS.issuperset(name):
            raise ValueError(f"model name {self.model[:40]!r} is not 1..{MAX_MODEL_NAME} characters of a-z, 0-9 and -")
        if not isinstance(self.weights_hash, bytes) or len(self.weights_hash) != WEIGHTS_HASH_BYTES:
            raise ValueError(f"weights hash is not {WEIGHTS_HASH_BYTES} bytes")


@dataclass(frozen=True)
class Container:
    """A whole .psic file: its header and the payloads of the sections this version knows."""

    header: Header
    sections: Mapping[Section, bytes]


def quality_level(quality: int, levels: int) -> int:
    """The gain level (0..levels-1) that a quality (1..100) asks for, in integers so that every machine agrees."""
    _check_range("quality", quality, MIN_QUALITY, MAX_QUALITY)
    if levels < 1:
        raise ValueError(f"levels {levels} is not positive")
    steps = MAX_QUALITY - MIN_QUALITY
    return ((quality - MIN_QUALITY) * (levels - 1) * 2 + steps) // (2 * steps)


def pack(container: Container) -> bytes:
    """The bytes of a .psic file; equal containers give equal bytes. `ValueError` if sections are missing or out of place."""
    header = container.header
    _check_given(container.sections, _IN_SEALED_FILE if header.sealed else _IN_OPEN_FILE)
    body = _pack_start(header) + _pack_list(container.sections)
    return body + _checksum(body)


def unpack(data: bytes) -> Container:
    """Read a whole .psic file; unknown optional sections are left out.

    Raises `FormatError` for everything else: another kind of file, a newer version, a file cut short or with bytes added, any
    damage that the checksum shows, a number out of range or not in its shortest form, sections unknown, repeated, out of order,
    out of place or missing.
    """
    reader = _open(data)
    header = _read_header(reader)
    sections, _ = _read_list(reader, _IN_SEALED_FILE if header.sealed else _IN_OPEN_FILE)
    return Container(header, sections)


def associated_data(source: bytes | Container) -> bytes:
    """Every byte of the file before SEALED's id byte: what the seal authenticates.

    A `Container` may still lack its SEALED section, as it does while the seal is being made. `ValueError` for an open container,
    `FormatError` for bytes that are not a sealed .psic file.
    """
    if isinstance(source, Container):
        if not source.header.sealed:
            raise ValueError("an open file has no seal")
        sections = {Section.SEALED: b"", **source.sections}
        _check_given(sections, _IN_SEALED_FILE)
        return _pack_start(source.header) + _pack_list(sections, stop_before=Section.SEALED)
    reader = _open(source)
    if not _read_header(reader).sealed:
        raise FormatError("the file is open: nothing in it is sealed")
    _, starts = _read_list(reader, _IN_SEALED_FILE)
    return source[: starts[Section.SEALED]]


def pack_sections(sections: Mapping[Section, bytes]) -> bytes:
    """The section list inside the seal: Y_PRIVATE and, where there are any, EXIF and XMP. `ValueError` for other sections."""
    _check_given(sections, _INSIDE_SEAL)
    return _pack_list(sections)


def unpack_sections(data: bytes) -> dict[Section, bytes]:
    """Read the section list inside the seal. `FormatError` as in `unpack`; bytes left over are an error too."""
    sections, _ = _read_list(_Reader(data, 0, len(data)), _INSIDE_SEAL)
    return sections


# Writing


def _pack_start(header: Header) -> bytes:
    name = header.model.encode("ascii")
    flags = (_FLAG_SEALED if header.sealed else 0) | (_FLAG_GREY if header.grey else 0)
    fields = b"".join(
        (
            bytes((flags,)),
            _varint(header.width),
            _varint(header.height),
            bytes((header.quality, header.strength, len(name))),
            name,
            header.weights_hash,
        )
    )
    return MAGIC + bytes((VERSION,)) + _varint(len(fields)) + fields


def _pack_list(sections: Mapping[Section, bytes], stop_before: Section | None = None) -> bytes:
    parts = [_varint(len(sections))]
    for section in sorted(sections, key=lambda section: section & _ORDER_BITS):
        if section is stop_before:
            break
        payload = sections[section]
        parts += (bytes((section,)), _varint(len(payload)), payload)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    """Little-endian groups of seven bits, bit 7 set on all but the last: the shortest form, which is the only one allowed."""
    if not 0 <= value <= MAX_LENGTH:
        raise ValueError(f"{value} does not fit a number of the container (0..{MAX_LENGTH})")
    groups = bytearray()
    while value > 0x7F:
        groups.append(0x80 | (value & 0x7F))
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _checksum(body: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(body))


# Reading


class _Reader:
    """A cursor over `data[position:end]` that looks at what is left before it takes anything."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.data = data
        self.position = position
        self.end = end

    @property
    def left(self) -> int:
        return self.end - self.position

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _damaged(f"{count} bytes are announced where {self.left} are left")
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            group = self.byte()
            value |= (group & 0x7F) << shift
            if value > MAX_LENGTH:
                raise _damaged(f"a number is above {MAX_LENGTH}")
            if group < 0x80:
                if group == 0 and shift > 0:
                    raise _damaged("a number is not in its shortest form")
                return value
            shift += 7
            if shift > 28:  # five groups hold 35 bits: a sixth can only be padding
                raise _damaged("a number is not in its shortest form")


def _open(data: bytes) -> _Reader:
    """Check magic, version and checksum; the reader stands behind the version byte and ends before the checksum."""
    if not data.startswith(MAGIC):
        raise _not_psic(data)
    if len(data) <= len(MAGIC) + 1 + CHECKSUM_BYTES:
        raise _damaged(f"it ends after {len(data)} bytes")
    version = data[len(MAGIC)]
    if version > VERSION:
        raise FormatError(
            f"the file has format version {version}, this psic reads up to {VERSION}",
            hint="a newer psic reads it",
        )
    if version < 1:
        raise _damaged(f"format version {version} does not exist")
    end = len(data) - CHECKSUM_BYTES
    # memoryview: a hundred megabytes need not be copied to be summed
    if struct.pack("<I", zlib.crc32(memoryview(data)[:end])) != data[end:]:
        raise _damaged("its checksum does not fit")
    return _Reader(data, len(MAGIC) + 1, end)


def _read_header(reader: _Reader) -> Header:
    fields = _Reader(reader.take(reader.varint()), 0, 0)
    fields.end = len(fields.data)
    flags = fields.byte()
    if flags & ~(_FLAG_SEALED | _FLAG_GREY):
        raise _damaged(f"flags 0x{flags:02x} are not defined")
    width, height = fields.varint(), fields.varint()
    quality, strength = fields.byte(), fields.byte()
    name = fields.take(fields.byte())
    weights_hash = fields.take(WEIGHTS_HASH_BYTES)
    if fields.left:
        raise _damaged(f"the header has {fields.left} bytes too many")
    try:
        return Header(
            width,
            height,
            quality,
            strength,
            name.decode("latin-1"),
            weights_hash,
            sealed=bool(flags & _FLAG_SEALED),
            grey=bool(flags & _FLAG_GREY),
        )
    except ValueError as error:
        raise _damaged(str(error)) from None


def _read_list(reader: _Reader, place: _Place) -> tuple[dict[Section, bytes], dict[Section, int]]:
    """Payloads by section, and the position of each id byte; the list must end where the reader ends."""
    sections: dict[Section, bytes] = {}
    starts: dict[Section, int] = {}
    previous = 0
    for _ in range(reader.varint()):  # a count that lies runs into the end of the data
        start = reader.position
        identifier = reader.byte()
        order = identifier & _ORDER_BITS
        if order <= previous:
            raise _damaged(f"section 0x{identifier:02x} is repeated or out of order")
        previous = order
        payload = reader.take(reader.varint())
        try:
            section = Section(identifier)
        except ValueError:
            if identifier & _OPTIONAL_BIT:
                continue
            raise FormatError(
                f"the file needs section 0x{identifier:02x}, which this psic does not know",
                hint="a newer psic may read it",
            ) from None
        if section not in place.allowed:
            raise _damaged(f"section {section.name} does not belong in {place.name}")
        sections[section] = payload
        starts[section] = start
    if reader.left:
        raise _damaged(f"{reader.left} bytes follow the last section")
    for section in place.needed:
        if section not in sections:
            raise _damaged(f"section {section.name} is missing")
    return sections, starts


def _not_psic(data: bytes) -> FormatError:
    if not data:
        return FormatError("this is not a .psic file (it is empty)")
    start = "".join(chr(byte) if 0x20 < byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in data[:4])
    hint = None
    if data.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")):
        hint = "to make a .psic file from a picture, use: psic encode"
    elif data.startswith((MAGIC[:3] + b"\r", bytes((MAGIC[0] & 0x7F,)) + MAGIC[1:], MAGIC[1:])) or data[2:].startswith(
        (MAGIC[1:], b"\xbd" + MAGIC[1:])
    ):
        hint = "it looks like a .psic file that was sent as text: send it again as binary"
    return FormatError(f'this is not a .psic file (it starts with "{start}")', hint=hint)


def _damaged(what: str) -> FormatError:
    return FormatError(f"the file is damaged or incomplete: {what}", hint="fetch it again from where it came from")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    # bool and numpy integers would pass a comparison and fail, or wrap, later on
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} {value!r} is not a whole number from {low} to {high}")


def _check_given(sections: Mapping[Section, bytes], place: _Place) -> None:
    for section, payload in sections.items():
        if section not in place.allowed or not isinstance(payload, bytes):
            raise ValueError(f"section {section!r} does not belong in {place.name}, or its payload is not bytes")
    for section in place.needed:
        if section not in sections:
            raise ValueError(f"section {section.name} is missing from {place.name}")
