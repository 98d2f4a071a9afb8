"""The .psic container: a header, a list of sections and a checksum, as bytes (FORMAT.md sections 1 to 4).

Nothing here knows what a section's payload means, and nothing here imports torch or numpy. Start with `pack` and
`unpack`. Wrong bytes give `FormatError`, which is for people; wrong values from a caller give `ValueError`.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from psic_cli.bitstream.reader import Reader, damaged, pack_varint
from psic_cli.errors import FormatError

# A byte above 127 and a line break: a transfer that clears the eighth bit or rewrites line ends shows in the magic.
MAGIC = b"\x8fPS\n"
VERSION = 1

MAX_SIDE = 2**18  # pixels
MAX_PIXELS = 2**30  # width * height; what a decoder can afford is its own, lower limit

MIN_QUALITY, MAX_QUALITY = 1, 100
SMALLEST_SIDE = 224  # pixels: below, the shorter side of a picture no longer changes what a quality means
MAX_STRENGTH = 100  # percent
MAX_MODEL_NAME = 32  # characters
WEIGHTS_HASH_BYTES = 8
CHECKSUM_BYTES = 4

_FLAG_SEALED = 0x01
_FLAG_GREY = 0x02
_NAME_CHARACTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")


class Section(IntEnum):
    """What a section holds.

    Bit 7 tells a reader that does not know the id whether to skip the section (set) or to refuse the file (clear). The
    low seven bits give the place in the file, ascending: SEALED, which authenticates all before it, is last.
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
    """Where a section list stands: which sections it must hold, and which it may hold besides."""

    name: str
    must: frozenset[Section]
    may: frozenset[Section]


_SEALED_FILE = _Place(
    "a sealed file",
    must=frozenset({Section.Z, Section.Y_PUBLIC, Section.SEALED}),
    may=frozenset({Section.ALPHA, Section.ICC}),
)
_OPEN_FILE = _Place(
    "an open file",
    must=frozenset({Section.Z, Section.Y_PUBLIC, Section.Y_PRIVATE}),
    may=frozenset({Section.ALPHA, Section.ICC, Section.EXIF, Section.XMP}),
)
_INSIDE_SEAL = _Place(
    "the sealed part",
    must=frozenset({Section.Y_PRIVATE}),
    may=frozenset({Section.EXIF, Section.XMP}),
)


@dataclass(frozen=True)
class Header:
    """What a .psic file says about itself; `ValueError` for anything outside its range.

    width, height: pixels, 1..MAX_SIDE, at most MAX_PIXELS together.
    quality: 1..100. strength: shield strength in percent, 0..100.
    model: 1..32 characters of a-z, 0-9 and "-". weights_hash: first 8 bytes of SHA-256 of the model's weights file.
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
        name = self.model.encode("ascii", errors="replace")  # "?" is not a character of names
        if not 1 <= len(name) <= MAX_MODEL_NAME or not _NAME_CHARACTERS.issuperset(name):
            raise ValueError(f"model name {self.model[:40]!a} is not 1..{MAX_MODEL_NAME} characters of a-z, 0-9 and -")
        if not isinstance(self.weights_hash, bytes) or len(self.weights_hash) != WEIGHTS_HASH_BYTES:
            raise ValueError(f"weights hash is not {WEIGHTS_HASH_BYTES} bytes")

    @property
    def short_side(self) -> int:
        """Pixels."""
        return min(self.width, self.height)


@dataclass(frozen=True)
class Container:
    """A whole .psic file: its header and the payloads of the sections that this version knows."""

    header: Header
    sections: Mapping[Section, bytes]


def quality_level(quality: int, levels: int, short_side: int, even_from: int) -> int:
    """The gain level 0..levels-1 that a quality 1..100 asks for, in integers so that every machine agrees.

    Levels rise evenly where the shorter side of the picture has `even_from` pixels. The fewer pixels a picture has, the
    more each of them tells: the share of the levels below, against that above, grows as the square of the side falls.
    """
    _check_range("quality", quality, MIN_QUALITY, MAX_QUALITY)
    if levels < 1:
        raise ValueError(f"levels {levels} is not positive")
    most = max(SMALLEST_SIDE, even_from)
    side = min(max(SMALLEST_SIDE, short_side), most)
    below, above = (quality - MIN_QUALITY) * most**2, (MAX_QUALITY - quality) * side**2
    return (2 * below * (levels - 1) + below + above) // (2 * (below + above))


def pack(container: Container) -> bytes:
    """The bytes of a .psic file; equal containers give equal bytes. `ValueError` for sections missing or misplaced."""
    _check_sections(container.sections, _file_place(container.header))
    body = _pack_start(container.header) + _pack_list(container.sections)
    return body + struct.pack("<I", zlib.crc32(body))


def unpack(data: bytes) -> Container:
    """Read a whole .psic file; unknown optional sections are left out.

    Raises `FormatError` for everything that is wrong: another kind of file, a newer version, a file cut short or with
    bytes added, damage, a number out of range or not in its shortest form, sections repeated, out of order, out of
    place, missing, or required and unknown.
    """
    header, sections, _ = _read_file(data)
    return Container(header, sections)


def associated_data(source: bytes | Container) -> bytes:
    """Every byte of the file before SEALED's id byte: what the seal authenticates.

    A `Container` may still lack its SEALED section, as it does while the seal is being made.
    `ValueError` for an open container, `FormatError` for bytes that are not a sealed .psic file.
    """
    if isinstance(source, Container):
        if not source.header.sealed:
            raise ValueError("an open file has no seal")
        sections = {Section.SEALED: b"", **source.sections}
        _check_sections(sections, _SEALED_FILE)
        return _pack_start(source.header) + _pack_list(sections, stop_before=Section.SEALED)
    header, _, starts = _read_file(source)
    if not header.sealed:
        raise FormatError("the file is open: nothing in it is sealed")
    return source[: starts[Section.SEALED]]


def pack_sections(sections: Mapping[Section, bytes]) -> bytes:
    """The section list inside the seal: Y_PRIVATE, perhaps EXIF and XMP. `ValueError` for any other sections."""
    _check_sections(sections, _INSIDE_SEAL)
    return _pack_list(sections)


def unpack_sections(data: bytes) -> dict[Section, bytes]:
    """Read the section list inside the seal. `FormatError` as for `unpack`."""
    sections, _ = _read_list(Reader(data), _INSIDE_SEAL)
    return sections


# Writing


def _pack_start(header: Header) -> bytes:
    """Everything before the section list."""
    name = header.model.encode("ascii")
    flags = (_FLAG_SEALED if header.sealed else 0) | (_FLAG_GREY if header.grey else 0)
    fields = (
        bytes((flags,))
        + pack_varint(header.width)
        + pack_varint(header.height)
        + bytes((header.quality, header.strength, len(name)))
        + name
        + header.weights_hash
    )
    return MAGIC + bytes((VERSION,)) + pack_varint(len(fields)) + fields


def _pack_list(sections: Mapping[Section, bytes], stop_before: Section | None = None) -> bytes:
    parts = [pack_varint(len(sections))]
    for section in sorted(sections, key=lambda section: section & _ORDER_BITS):
        if section == stop_before:
            break
        payload = sections[section]
        parts += (bytes((section,)), pack_varint(len(payload)), payload)
    return b"".join(parts)


# Reading


def _read_file(data: bytes) -> tuple[Header, dict[Section, bytes], dict[Section, int]]:
    """Header, payloads, and the position of each section's id byte."""
    reader = _open(data)
    header = _read_header(reader)
    return header, *_read_list(reader, _file_place(header))


def _open(data: bytes) -> Reader:
    """Check magic, version and checksum; the reader then runs from the header's length to the checksum."""
    if not data.startswith(MAGIC):
        raise _not_psic(data)
    start, end = len(MAGIC) + 1, len(data) - CHECKSUM_BYTES
    if end < start:
        raise damaged("it ends before its header")
    version = data[len(MAGIC)]
    if version > VERSION:  # before the checksum, which a newer version may have moved
        message = f"the file has format version {version}, this psic reads versions up to {VERSION}"
        raise FormatError(message, hint="read it with a newer psic")
    if version == 0:
        raise damaged("there is no format version 0")
    # A view: a hundred megabytes need not be copied to be summed.
    if struct.pack("<I", zlib.crc32(memoryview(data)[:end])) != data[end:]:
        raise damaged("its checksum does not fit")
    return Reader(data, start, end)


def _read_header(reader: Reader) -> Header:
    fields = Reader(reader.take(reader.varint()))
    flags = fields.byte()
    if flags & ~(_FLAG_SEALED | _FLAG_GREY):
        raise damaged(f"flags 0x{flags:02x} are not defined")
    width, height = fields.varint(), fields.varint()
    quality, strength = fields.byte(), fields.byte()
    name = fields.take(fields.byte()).decode("latin-1")  # any bytes decode; Header refuses what is not a name
    weights_hash = fields.take(WEIGHTS_HASH_BYTES)
    if fields.left:
        raise damaged(f"bytes left over in the header: {fields.left}")
    sealed, grey = bool(flags & _FLAG_SEALED), bool(flags & _FLAG_GREY)
    try:
        return Header(width, height, quality, strength, name, weights_hash, sealed, grey)
    except ValueError as error:
        raise damaged(str(error)) from None


def _read_list(reader: Reader, place: _Place) -> tuple[dict[Section, bytes], dict[Section, int]]:
    """Payloads, and the position of each id byte, of a list that ends where the reader ends."""
    sections: dict[Section, bytes] = {}
    starts: dict[Section, int] = {}
    previous = 0
    for _ in range(reader.varint()):  # a count that lies runs into the end of the data
        start = reader.position
        number = reader.byte()
        if number & _ORDER_BITS <= previous:
            raise damaged(f"section 0x{number:02x} is repeated or out of order")
        previous = number & _ORDER_BITS
        payload = reader.take(reader.varint())
        section = _SECTION_OF.get(number)
        if section is None:
            if number & _OPTIONAL_BIT:
                continue
            message = f"the file needs section 0x{number:02x}, which this psic does not know"
            raise FormatError(message, hint="read it with a newer psic")
        if section not in place.must | place.may:
            raise damaged(f"section {section.name} is out of place in {place.name}")
        sections[section] = payload
        starts[section] = start
    if reader.left:
        raise damaged(f"bytes left over after the last section: {reader.left}")
    for section in sorted(place.must - sections.keys()):
        raise damaged(f"section {section.name} is missing")
    return sections, starts


_SECTION_OF: dict[int, Section] = {int(section): section for section in Section}


def _not_psic(data: bytes) -> FormatError:
    if not data:
        return FormatError("this is not a .psic file (it is empty)")
    hint = None
    if data.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")):
        hint = "to make a .psic file of a picture, use psic encode"
    elif any(line_end in data[:7] for line_end in (b"PS\n", b"PS\r")):  # the magic behind changed or added bytes
        hint = "it looks like a .psic file that was sent as text; send it again as binary"
    start = "".join(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in data[:4])
    return FormatError(f'this is not a .psic file (it starts with "{start}")', hint)


# Checks


def _file_place(header: Header) -> _Place:
    return _SEALED_FILE if header.sealed else _OPEN_FILE


def _check_range(name: str, value: int, low: int, high: int) -> None:
    # bool and numpy integers would pass the comparison and fail, or wrap, later on.
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} {value!r} is not a whole number from {low} to {high}")


def _check_sections(sections: Mapping[Section, bytes], place: _Place) -> None:
    for section, payload in sections.items():
        if section not in place.must | place.may:
            raise ValueError(f"section {section!r} is out of place in {place.name}")
        if not isinstance(payload, bytes):
            raise ValueError(f"the payload of section {section!r} is not bytes")
    for section in sorted(place.must - sections.keys()):
        raise ValueError(f"section {section.name} is missing from {place.name}")
