"""The .psic container: a header, a list of sections and a checksum, as bytes (FORMAT.md sections 1 to 4; header.py has
the header).

Nothing here knows what a section's payload means, and nothing here imports torch or numpy. Start with `pack` and
`unpack`. Wrong bytes give `FormatError`, which is for people; wrong values from a caller give `ValueError`.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from psic_cli.bitstream.header import Header, pack_header, read_header
from psic_cli.bitstream.reader import Reader, damaged, pack_varint
from psic_cli.errors import FormatError

# A byte above 127 and a line break: a transfer that clears the eighth bit or rewrites line ends shows in the magic.
MAGIC = b"\x8fPS\n"
VERSION = 1  # of the format

CHECKSUM_BYTES = 4


class Section(IntEnum):
    """What a section holds.

    Bit 7 tells a reader that does not know the id whether to skip the section (set) or to refuse the file (clear). The
    low seven bits give the place in the file, ascending: SEALED, which authenticates all before it, is last.
    """

    Z = 0x01
    Y = 0x02
    MOVES = 0x03
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
    must=frozenset({Section.Z, Section.Y, Section.SEALED}),
    may=frozenset({Section.ALPHA, Section.ICC}),
)
_OPEN_FILE = _Place(
    "an open file",
    must=frozenset({Section.Z, Section.Y, Section.MOVES}),
    may=frozenset({Section.ALPHA, Section.ICC, Section.EXIF, Section.XMP}),
)
_INSIDE_SEAL = _Place(
    "the sealed part",
    must=frozenset({Section.MOVES}),
    may=frozenset({Section.EXIF, Section.XMP}),
)


@dataclass(frozen=True)
class Container:
    """A whole .psic file: its header and the payloads of the sections that this version knows."""

    header: Header
    sections: Mapping[Section, bytes]


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
    """The section list inside the seal: MOVES, perhaps EXIF and XMP. `ValueError` for any other sections."""
    _check_sections(sections, _INSIDE_SEAL)
    return _pack_list(sections)


def unpack_sections(data: bytes) -> dict[Section, bytes]:
    """Read the section list inside the seal. `FormatError` as for `unpack`."""
    sections, _ = _read_list(Reader(data), _INSIDE_SEAL)
    return sections


# Writing


def _pack_start(header: Header) -> bytes:
    """Everything before the section list."""
    fields = pack_header(header)
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
    header = read_header(reader.take(reader.varint()))
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
        message = f"the file has format version {version}, this psic reads version {VERSION}"
        raise FormatError(message, hint="read it with a newer psic")
    if version == 0:
        raise damaged("there is no format version 0")
    # A view: a hundred megabytes need not be copied to be summed.
    if struct.pack("<I", zlib.crc32(memoryview(data)[:end])) != data[end:]:
        raise damaged("its checksum does not fit")
    return Reader(data, start, end)


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


def _check_sections(sections: Mapping[Section, bytes], place: _Place) -> None:
    for section, payload in sections.items():
        if section not in place.must | place.may:
            raise ValueError(f"section {section!r} is out of place in {place.name}")
        if not isinstance(payload, bytes):
            raise ValueError(f"the payload of section {section!r} is not bytes")
    for section in sorted(place.must - sections.keys()):
        raise ValueError(f"section {section.name} is missing from {place.name}")
