"""A reader that knows FORMAT.md alone understands what the package writes, and refuses what the package refuses."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli import keys
from psic_cli.bitstream.container import (
    Container,
    Section,
    associated_data,
    pack,
    pack_sections,
    unpack,
    unpack_sections,
)
from psic_cli.bitstream.entropy import encode_symbols
from psic_cli.bitstream.moves import decode_moves, encode_moves
from psic_cli.bitstream.reader import pack_varint
from psic_cli.errors import FormatError
from psic_cli.icc import icc_from_payload, icc_to_payload, standard_srgb
from tests.bitstream import second_network, second_profile, second_reader, second_seal
from tests.bitstream.second_reader import Refused
from tests.bitstream.strategies import OPEN, SEALED, containers, headers, messages, planes, with_checksum

SECRET = bytes(range(32))
SALT = bytes(range(100, 116))


def test_the_second_reader_uses_nothing_of_the_package():
    imports = []
    for path in (str(second_reader.__file__), str(second_profile.__file__)):
        with open(path, encoding="utf-8") as source:
            imports += [line.split()[1] for line in source if line.startswith(("import ", "from "))]
    standard = {"hashlib", "hmac", "struct", "zlib", "collections.abc", "dataclasses"}
    assert set(imports) <= standard | {"tests.bitstream.second_reader"}


@given(containers())
def test_files_mean_the_same_to_both(container):
    data = pack(container)
    file = second_reader.read_file(data)
    header = container.header
    assert (file.width, file.height, file.quality, file.strength) == (
        header.width,
        header.height,
        header.quality,
        header.strength,
    )
    assert (file.model, file.weights_hash) == (header.model, header.weights_hash)
    assert (file.sealed, file.grey) == (header.sealed, header.grey)
    assert file.sections == {section.name: payload for section, payload in container.sections.items()}
    assert file.associated_data == (associated_data(data) if header.sealed else None)


@pytest.mark.parametrize("container", [SEALED, OPEN], ids=["sealed", "open"])
@given(st.data())
def test_edited_files_are_refused_by_both_or_by_none(container, data):
    body = bytearray(pack(container)[:-4])
    for _ in range(data.draw(st.integers(1, 2))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assert read_by_package(with_checksum(bytes(body))) == read_by_second_reader(with_checksum(bytes(body)))


SOME_IDS = st.sampled_from([0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x7E, 0x7F, 0x80, 0x85, 0x86, 0x87, 0x90, 0xFE])


@pytest.mark.parametrize("container", [SEALED, OPEN], ids=["sealed", "open"])
@given(st.sets(SOME_IDS), st.booleans())
def test_section_lists_are_refused_by_both_or_by_none(container, numbers, sort):
    file = pack(container)
    header_end = 6 + file[5]
    ids = sorted(numbers, key=lambda number: number & 0x7F) if sort else list(numbers)
    sections = b"".join(bytes((number,)) + pack_varint(3) + b"abc" for number in ids)
    data = with_checksum(file[:header_end] + pack_varint(len(ids)) + sections)
    assert read_by_package(data) == read_by_second_reader(data)


def read_by_package(data: bytes) -> dict[str, bytes] | None:
    try:
        return {section.name: payload for section, payload in unpack(data).sections.items()}
    except FormatError:
        return None


def read_by_second_reader(data: bytes) -> dict[str, bytes] | None:
    try:
        return second_reader.read_file(data).sections
    except Refused:
        return None


@given(st.binary(max_size=300))
def test_the_checksum_is_the_one_of_png(data):
    assert second_reader.crc32(data) == zlib.crc32(data)


# The colour profile


@pytest.mark.parametrize("profile", [b"x", bytes(5000), bytes(range(256)) * 9, standard_srgb()])
def test_a_profile_means_the_same_to_both(profile):
    payload = icc_to_payload(profile)
    expected = None if profile == standard_srgb() else profile
    assert second_profile.read_profile(payload) == expected
    assert icc_from_payload(payload) == profile


@given(st.data())
def test_changed_profiles_are_refused_by_both_or_by_none(data):
    payload = bytearray(icc_to_payload(bytes(range(100))))
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        ours: bytes | None = icc_from_payload(bytes(payload))
    except FormatError:
        ours = None
    try:
        theirs = second_profile.read_profile(bytes(payload))
    except Refused:
        theirs = None
    assert ours == theirs


# The seal


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.binary(max_size=100))
def test_the_second_reader_opens_what_the_package_seals(secret, exif, public):
    inside = {Section.MOVES: b"the moves", Section.EXIF: exif}
    sealed = keys.seal(secret, pack_sections(inside), public)
    assert second_seal.open_seal(secret, sealed, public) == {"MOVES": b"the moves", "EXIF": exif}


def test_the_second_reader_refuses_another_key_and_any_change():
    sealed = keys.seal(SECRET, pack_sections({Section.MOVES: b"the moves"}), b"public", SALT)
    with pytest.raises(Refused, match="another key"):
        second_seal.open_seal(SECRET[::-1], sealed, b"public")
    with pytest.raises(Refused, match="tag"):
        second_seal.open_seal(SECRET, sealed, b"publik")
    with pytest.raises(Refused, match="tag"):
        second_seal.open_seal(SECRET, sealed[:-1] + bytes((sealed[-1] ^ 1,)), b"public")
    with pytest.raises(Refused, match="short"):
        second_seal.open_seal(SECRET, sealed[:35], b"public")


# Everything together


@given(headers(sealed=True), messages(), messages(), planes())
def test_a_whole_sealed_file_is_read_to_the_last_symbol(header, z, y, given_planes):
    z_data, y_data = (encode_symbols(m.symbols, m.indexes, m.tables) for m in (z, y))
    moves, symbols, index = given_planes
    clear = {Section.Z: z_data, Section.Y: y_data}
    inside = pack_sections({Section.MOVES: encode_moves(moves, symbols, index)})
    sealed = keys.seal(SECRET, inside, associated_data(Container(header, clear)))
    data = pack(Container(header, {**clear, Section.SEALED: sealed}))

    file = second_reader.read_file(data)
    assert file.associated_data is not None
    opened = second_seal.open_seal(SECRET, file.sections["SEALED"], file.associated_data)
    for payload, message in ((file.sections["Z"], z), (file.sections["Y"], y)):
        tables = message.tables
        plain = second_reader.tables_of(tables.cumulative.tolist(), tables.sizes.tolist(), tables.offsets.tolist())
        assert second_reader.decode_symbols(payload, message.indexes, plain) == message.symbols
    found = second_network.decode_moves(opened["MOVES"], symbols.tolist(), index.tolist())
    assert found == moves.tolist()

    ours = unpack(data)
    reopened = unpack_sections(keys.open_sealed(SECRET, ours.sections[Section.SEALED], associated_data(data)))
    assert decode_moves(reopened[Section.MOVES], symbols, index).tolist() == moves.tolist()
