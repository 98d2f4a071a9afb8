"""The container: what goes in comes out, and whatever is not exactly a .psic file is refused."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.bitstream.container import (
    MAGIC,
    Container,
    Section,
    associated_data,
    pack,
    pack_sections,
    unpack,
    unpack_sections,
)
from psic_cli.bitstream.header import Header
from psic_cli.bitstream.reader import pack_varint
from psic_cli.errors import FormatError
from tests.bitstream.handmade import MOVES, SEAL, Y, Z, file_of, header_bytes, refusal, section
from tests.bitstream.strategies import OPEN, SEALED, WEIGHTS_HASH, containers, with_checksum

ALL = pytest.mark.parametrize("container", [SEALED, OPEN], ids=["sealed", "open"])


# Round trips


@given(containers())
def test_unpacking_gives_back_what_was_packed(container):
    data = pack(container)
    assert unpack(data) == container
    assert pack(unpack(data)) == data


def test_the_order_in_which_sections_were_given_does_not_matter():
    backwards = Container(OPEN.header, dict(reversed(list(OPEN.sections.items()))))
    assert pack(backwards) == pack(OPEN)


@given(containers(sealed=True))
def test_associated_data_is_the_file_before_the_seal(container):
    data = pack(container)
    seal = container.sections[Section.SEALED]
    expected = data[: len(data) - 4 - len(seal) - len(pack_varint(len(seal))) - 1]
    before = Container(container.header, {k: v for k, v in container.sections.items() if k != Section.SEALED})
    assert associated_data(data) == associated_data(container) == associated_data(before) == expected


def test_an_open_file_has_no_associated_data():
    with pytest.raises(ValueError, match="open file"):
        associated_data(OPEN)
    refusal(pack(OPEN), associated_data)


@given(
    st.fixed_dictionaries(
        {Section.MOVES: st.binary(max_size=200)},
        optional={Section.EXIF: st.binary(max_size=200), Section.XMP: st.binary(max_size=200)},
    )
)
def test_the_list_inside_the_seal_comes_back(sections):
    assert unpack_sections(pack_sections(sections)) == sections


def test_a_sealed_file_costs_at_most_96_bytes_beyond_its_symbols():
    z, y, moves = 40_000, 9_000_000, 2_500_000  # more than 12 megapixels of noise at full quality
    header = Header(4000, 3000, 50, 100, "psic-base", WEIGHTS_HASH, sealed=True)
    inside = pack_sections({Section.MOVES: bytes(moves)})
    sealing = 16 + 4 + 16
    sections = {Section.Z: bytes(z), Section.Y: bytes(y), Section.SEALED: inside + bytes(sealing)}
    assert len(pack(Container(header, sections))) - z - y - moves <= 96


# Damage


@ALL
def test_a_file_cut_anywhere_is_refused(container):
    data = pack(container)
    for length in range(len(data)):
        refusal(data[:length])


@ALL
@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_any_changed_byte_is_refused(container, change):
    data = pack(container)
    for position in range(len(data)):
        refusal(data[:position] + bytes((data[position] ^ change,)) + data[position + 1 :])


@ALL
@pytest.mark.parametrize("added", [b"\x00", b"\n", bytes(100), b"twice"])
def test_bytes_behind_the_file_are_refused(container, added):
    refusal(pack(container) + added)


def test_two_files_in_a_row_are_refused():
    refusal(pack(SEALED) * 2)


@ALL
@given(st.data())
def test_an_edited_file_with_a_right_checksum_is_read_exactly_or_refused(container, data):
    body = bytearray(pack(container)[:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    edited = with_checksum(bytes(body))
    try:
        read = unpack(edited)
    except FormatError:
        return
    if len(pack(read)) == len(edited):  # no unknown section was skipped
        assert pack(read) == edited


@given(st.binary(max_size=60))
def test_noise_behind_a_right_start_is_never_more_than_refused(noise):
    for start in (MAGIC, MAGIC + b"\x01", MAGIC + b"\x01\x0e" + header_bytes()):
        refusal(with_checksum(start + noise))
    refusal(noise, unpack_sections)


# Other files


def test_other_kinds_of_file_are_named_by_how_they_start():
    assert str(refusal(b"")) == "this is not a .psic file (it is empty)"
    assert str(refusal(b"%PDF-1.7")) == 'this is not a .psic file (it starts with "%PDF")'
    assert str(refusal(b'a"\\b')) == 'this is not a .psic file (it starts with "a\\x22\\x5cb")'
    png = refusal(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert str(png) == 'this is not a .psic file (it starts with "\\x89PNG")'
    assert "psic encode" in str(png.hint)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), id="line ends for Windows"),
        pytest.param(lambda data: data.replace(b"\n", b"\r"), id="line ends of old Macs"),
        pytest.param(lambda data: bytes(byte & 0x7F for byte in data), id="eighth bit cleared"),
        pytest.param(lambda data: data.decode("latin-1").encode("utf-8"), id="taken for Latin-1"),
        pytest.param(lambda data: data.decode("utf-8", "replace").encode("utf-8"), id="taken for UTF-8"),
    ],
)
def test_a_file_sent_as_text_is_recognised(sent):
    error = refusal(sent(pack(SEALED)))
    assert "text" in str(error.hint)


def test_a_newer_version_is_named_whatever_follows_it():
    for version in (2, 10, 255):
        error = refusal(MAGIC + bytes((version,)) + b"anything")
        assert f"format version {version}" in str(error)
        assert "newer" in str(error.hint)


def test_version_0_does_not_exist():
    assert "version 0" in str(refusal(with_checksum(MAGIC + b"\x00" + bytes(40))))


# Sections


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ([Y, SEAL], "Z is missing"),
        ([Z, SEAL], "Y is missing"),
        ([Z, Y], "SEALED is missing"),
        ([], "missing"),
        ([Z, Z, Y, SEAL], "0x01 is repeated"),
        ([Y, Z, SEAL], "0x01 is repeated or out of order"),
        ([Z, Y, SEAL, section(0x85)], "0x85 is repeated or out of order"),
        ([Z, Y, section(0x06), section(0x86), SEAL], "needs section 0x06"),
        ([section(0x00), Z, Y, SEAL], "0x00 is repeated or out of order"),
        ([section(0x80), Z, Y, SEAL], "0x80 is repeated or out of order"),
        ([Z, Y, section(0x05), SEAL], "needs section 0x05"),
        ([Z, Y, section(0x7E), SEAL], "needs section 0x7e"),
        ([Z, Y, MOVES, SEAL], "MOVES is out of place in a sealed file"),
        ([Z, Y, section(0x86), SEAL], "EXIF is out of place in a sealed file"),
        ([Z, Y, section(0x87), SEAL], "XMP is out of place in a sealed file"),
    ],
)
def test_sections_that_are_not_as_a_sealed_file_has_them_are_refused(sections, words):
    assert words in str(refusal(file_of(*sections)))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ([Z, Y], "MOVES is missing"),
        ([Z, Y, MOVES, SEAL], "SEALED is out of place in an open file"),
        ([Z, Y, SEAL], "SEALED is out of place in an open file"),
    ],
)
def test_sections_that_are_not_as_an_open_file_has_them_are_refused(sections, words):
    unpack(file_of(Z, Y, MOVES, header=header_bytes(flags=0)))
    assert words in str(refusal(file_of(*sections, header=header_bytes(flags=0))))


def test_the_sealed_flag_must_agree_with_the_sections():
    data = bytearray(pack(SEALED)[:-4])
    data[6] ^= 1
    refusal(with_checksum(bytes(data)))


def test_unknown_optional_sections_are_skipped_and_stay_under_the_seal():
    plain = file_of(Z, Y, SEAL)
    later = file_of(Z, section(0x82, b"new"), Y, section(0xFE, bytes(300)), SEAL)
    refusal(later)  # 0x82 stands in the place of 0x02
    later = file_of(Z, Y, section(0x90, b"new"), section(0xFE, bytes(300)), SEAL)
    assert unpack(later) == unpack(plain)
    assert b"new" in associated_data(later)
    assert associated_data(later) == later[: -4 - len(SEAL)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (file_of(Z, Y, SEAL, count=b"\x02"), "left over after the last section"),
        (file_of(Z, Y, SEAL, count=b"\x04"), "announced"),
        (file_of(Z, Y, SEAL, count=b"\xff\xff\xff\xff\x0f"), "announced"),
        (file_of(Z, Y, SEAL, after=b"\x00"), "left over after the last section: 1"),
        (file_of(Z, Y, b"\x7f\x01"), "bytes announced: 1, bytes left: 0"),
    ],
)
def test_counts_and_lengths_that_lie_are_refused(data, words):
    assert words in str(refusal(data))


def test_nothing_is_allocated_for_a_length_that_lies():
    data = file_of(Z, b"\x02\xff\xff\xff\xff\x0f", SEAL)
    tracemalloc.start()
    try:
        assert "bytes announced: 4294967295, bytes left: " in str(refusal(data))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "announced"),
        (b"\x00", "MOVES is missing"),
        (b"\x01" + Z, "Z is out of place in the sealed part"),
        (b"\x02" + MOVES + SEAL, "SEALED is out of place in the sealed part"),
        (b"\x01" + MOVES + b"\x00", "left over after the last section: 1"),
        (b"\x02" + MOVES, "announced"),
        (b"\x02" + MOVES + section(0x09), "needs section 0x09"),
    ],
)
def test_a_wrong_list_inside_the_seal_is_refused(data, words):
    assert words in str(refusal(data, unpack_sections))


@pytest.mark.parametrize("missing", [Section.Z, Section.Y, Section.SEALED])
def test_a_file_without_what_it_must_have_is_not_written(missing):
    sections = {name: payload for name, payload in SEALED.sections.items() if name != missing}
    with pytest.raises(ValueError, match=f"{missing.name} is missing"):
        pack(Container(SEALED.header, sections))


@pytest.mark.parametrize("extra", [Section.MOVES, Section.EXIF, Section.XMP])
def test_what_belongs_behind_the_seal_is_not_written_into_a_sealed_file(extra):
    for write in (pack, associated_data):
        with pytest.raises(ValueError, match="out of place in a sealed file"):
            write(Container(SEALED.header, {**SEALED.sections, extra: b""}))


def test_nothing_else_is_written_inside_the_seal():
    with pytest.raises(ValueError, match="out of place in the sealed part"):
        pack_sections({Section.MOVES: b"", Section.ICC: b""})
    with pytest.raises(ValueError, match="MOVES is missing"):
        pack_sections({Section.EXIF: b""})


def test_payloads_are_bytes():
    with pytest.raises(ValueError, match="not bytes"):
        pack_sections({Section.MOVES: bytearray(4)})  # type: ignore[dict-item]
