"""The container: what goes in comes out, and whatever is not exactly a .psic file is refused."""

import functools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.bitstream.container import HARDENED as HARDENED_VERSION
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
from tests.bitstream.handmade import REFINEMENT, SEAL, Y_PRIVATE, Y_PUBLIC, Z, file_of, header_bytes, refusal, section
from tests.bitstream.strategies import HARDENED, OPEN, SEALED, WEIGHTS_HASH, containers, with_checksum

ALL = pytest.mark.parametrize("container", [SEALED, OPEN, HARDENED], ids=["sealed", "open", "hardened"])


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
        {Section.Y_PRIVATE: st.binary(max_size=200)},
        optional={Section.EXIF: st.binary(max_size=200), Section.XMP: st.binary(max_size=200)},
    )
)
def test_the_list_inside_the_seal_comes_back(sections):
    assert unpack_sections(pack_sections(sections)) == sections


def test_a_sealed_file_costs_at_most_96_bytes_beyond_its_symbols():
    z, public, private = 40_000, 9_000_000, 2_500_000  # more than 12 megapixels of noise at full quality
    header = Header(4000, 3000, 50, 100, "psic-base", WEIGHTS_HASH, sealed=True)
    inside = pack_sections({Section.Y_PRIVATE: bytes(private)})
    sealing = 16 + 4 + 16
    sections = {Section.Z: bytes(z), Section.Y_PUBLIC: bytes(public), Section.SEALED: inside + bytes(sealing)}
    assert len(pack(Container(header, sections))) - z - public - private <= 96


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
    for start in (MAGIC, MAGIC + b"\x03", MAGIC + b"\x03\x0e" + header_bytes()):
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
    for version in (5, 10, 255):
        error = refusal(MAGIC + bytes((version,)) + b"anything")
        assert f"format version {version}" in str(error)
        assert "newer" in str(error.hint)


def test_a_version_from_before_the_first_release_is_named():
    for version in (1, 2):
        error = refusal(with_checksum(MAGIC + bytes((version,)) + bytes(40)))
        assert f"format version {version}, from before the first release" in str(error)
        assert "psic encode" in str(error.hint)


def test_version_0_does_not_exist():
    assert "version 0" in str(refusal(with_checksum(MAGIC + b"\x00" + bytes(40))))


# Sections


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ([Y_PUBLIC, SEAL], "Z is missing"),
        ([Z, SEAL], "Y_PUBLIC is missing"),
        ([Z, Y_PUBLIC], "SEALED is missing"),
        ([], "missing"),
        ([Z, Z, Y_PUBLIC, SEAL], "0x01 is repeated"),
        ([Y_PUBLIC, Z, SEAL], "0x01 is repeated or out of order"),
        ([Z, Y_PUBLIC, SEAL, section(0x85)], "0x85 is repeated or out of order"),
        ([Z, Y_PUBLIC, section(0x06), section(0x86), SEAL], "needs section 0x06"),
        ([section(0x00), Z, Y_PUBLIC, SEAL], "0x00 is repeated or out of order"),
        ([section(0x80), Z, Y_PUBLIC, SEAL], "0x80 is repeated or out of order"),
        ([Z, Y_PUBLIC, section(0x05), SEAL], "needs section 0x05"),
        ([Z, Y_PUBLIC, section(0x7E), SEAL], "needs section 0x7e"),
        ([Z, Y_PUBLIC, Y_PRIVATE, SEAL], "Y_PRIVATE is out of place in a sealed file"),
        ([Z, Y_PUBLIC, section(0x86), SEAL], "EXIF is out of place in a sealed file"),
        ([Z, Y_PUBLIC, section(0x87), SEAL], "XMP is out of place in a sealed file"),
    ],
)
def test_sections_that_are_not_as_a_sealed_file_has_them_are_refused(sections, words):
    assert words in str(refusal(file_of(*sections)))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ([Z, Y_PUBLIC], "Y_PRIVATE is missing"),
        ([Z, Y_PUBLIC, Y_PRIVATE, SEAL], "SEALED is out of place in an open file"),
        ([Z, Y_PUBLIC, SEAL], "SEALED is out of place in an open file"),
    ],
)
def test_sections_that_are_not_as_an_open_file_has_them_are_refused(sections, words):
    unpack(file_of(Z, Y_PUBLIC, Y_PRIVATE, header=header_bytes(flags=0)))
    assert words in str(refusal(file_of(*sections, header=header_bytes(flags=0))))


def test_the_sealed_flag_must_agree_with_the_sections():
    data = bytearray(pack(SEALED)[:-4])
    data[6] ^= 1
    refusal(with_checksum(bytes(data)))


def test_unknown_optional_sections_are_skipped_and_stay_under_the_seal():
    plain = file_of(Z, Y_PUBLIC, SEAL)
    later = file_of(Z, section(0x82, b"new"), Y_PUBLIC, section(0xFE, bytes(300)), SEAL)
    refusal(later)  # 0x82 stands in the place of 0x02
    later = file_of(Z, Y_PUBLIC, section(0x90, b"new"), section(0xFE, bytes(300)), SEAL)
    assert unpack(later) == unpack(plain)
    assert b"new" in associated_data(later)
    assert associated_data(later) == later[: -4 - len(SEAL)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (file_of(Z, Y_PUBLIC, SEAL, count=b"\x02"), "left over after the last section"),
        (file_of(Z, Y_PUBLIC, SEAL, count=b"\x04"), "announced"),
        (file_of(Z, Y_PUBLIC, SEAL, count=b"\xff\xff\xff\xff\x0f"), "announced"),
        (file_of(Z, Y_PUBLIC, SEAL, after=b"\x00"), "left over after the last section: 1"),
        (file_of(Z, Y_PUBLIC, b"\x7f\x01"), "bytes announced: 1, bytes left: 0"),
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
        (b"\x00", "Y_PRIVATE is missing"),
        (b"\x01" + Z, "Z is out of place in the sealed part"),
        (b"\x02" + Y_PRIVATE + SEAL, "SEALED is out of place in the sealed part"),
        (b"\x01" + Y_PRIVATE + b"\x00", "left over after the last section: 1"),
        (b"\x02" + Y_PRIVATE, "announced"),
        (b"\x02" + Y_PRIVATE + section(0x09), "needs section 0x09"),
        (b"\x02" + Y_PRIVATE + REFINEMENT, "REFINEMENT is out of place in the sealed part"),
    ],
)
def test_a_wrong_list_inside_the_seal_is_refused(data, words):
    assert words in str(refusal(data, unpack_sections))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00", "REFINEMENT is missing"),
        (b"\x01" + Y_PRIVATE, "Y_PRIVATE is out of place in the sealed part of a hardened file"),
    ],
)
def test_a_wrong_list_inside_the_seal_of_a_hardened_file_is_refused(data, words):
    assert words in str(refusal(data, functools.partial(unpack_sections, hardened=True)))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (header_bytes(public_quality=0), "public quality 0 is not a whole number from 1 to 100"),
        (header_bytes(public_quality=101), "public quality 101 is not a whole number from 1 to 100"),
        (header_bytes(flags=0, public_quality=40), "a hardened file is sealed"),
        (header_bytes(), "bytes announced"),  # the field is missing: what follows is taken for it
    ],
)
def test_a_wrong_header_of_a_hardened_file_is_refused(header, words):
    assert words in str(refusal(file_of(Z, Y_PUBLIC, SEAL, header=header, version=HARDENED_VERSION)))


def test_a_file_that_is_not_hardened_has_no_public_quality():
    assert refusal(file_of(Z, Y_PUBLIC, SEAL, header=header_bytes(public_quality=40)))


@pytest.mark.parametrize("missing", [Section.Z, Section.Y_PUBLIC, Section.SEALED])
def test_a_file_without_what_it_must_have_is_not_written(missing):
    sections = {name: payload for name, payload in SEALED.sections.items() if name != missing}
    with pytest.raises(ValueError, match=f"{missing.name} is missing"):
        pack(Container(SEALED.header, sections))


@pytest.mark.parametrize("extra", [Section.Y_PRIVATE, Section.EXIF, Section.XMP])
def test_private_sections_are_not_written_into_a_sealed_file(extra):
    for write in (pack, associated_data):
        with pytest.raises(ValueError, match="out of place in a sealed file"):
            write(Container(SEALED.header, {**SEALED.sections, extra: b""}))


def test_only_private_sections_are_written_inside_the_seal():
    with pytest.raises(ValueError, match="out of place in the sealed part"):
        pack_sections({Section.Y_PRIVATE: b"", Section.ICC: b""})
    with pytest.raises(ValueError, match="Y_PRIVATE is missing"):
        pack_sections({Section.EXIF: b""})


def test_payloads_are_bytes():
    with pytest.raises(ValueError, match="not bytes"):
        pack_sections({Section.Y_PRIVATE: bytearray(4)})  # type: ignore[dict-item]
