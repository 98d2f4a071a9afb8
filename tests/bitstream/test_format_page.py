"""FORMAT.md is held against the code: its constants, its table of sections, and its example file."""

import re
from pathlib import Path

import numpy as np
import pytest

from psic_cli import bitstream, icc, keys
from psic_cli.bitstream import container, entropy, header, moves, reader, tables
from psic_cli.bitstream.container import Section
from psic_cli.bitstream.entropy import encode_symbols
from psic_cli.bitstream.moves import encode_moves
from psic_cli.networks.cltg import LEARNED_QUALITIES
from psic_cli.networks.transforms import LATENT_SCALE
from tests.bitstream import second_network, second_reader, second_seal
from tests.bitstream.strategies import EXAMPLE_TABLES, words

PAGE = (Path(container.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
SECRET = bytes(range(32))


def chapter(number: int) -> str:
    """One numbered section of the page."""
    found = re.search(rf"^## {number} .*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"FORMAT.md has no section {number}"
    return found.group()


@pytest.mark.parametrize(
    ("number", "statement"),
    [
        (1, f"largest value is {reader.MAX_VARINT}"),
        (1, f"`300` is `{' '.join(f'0x{byte:02x}' for byte in reader.pack_varint(300))}`"),
        (2, "`" + " ".join(f"0x{byte:02x}" for byte in container.MAGIC) + "`"),
        (2, f"| format version | 1 byte | {container.VERSION} |"),
        (2, f"| checksum | {container.CHECKSUM_BYTES} bytes |"),
        (3, f"| width | varint | 1..{header.MAX_SIDE} pixels |"),
        (3, f"| height | varint | 1..{header.MAX_SIDE} pixels; width * height is at most {header.MAX_PIXELS} |"),
        (3, f"| quality | 1 byte | {header.MIN_QUALITY}..{header.MAX_QUALITY} |"),
        (3, f"| shield strength | 1 byte | 0..{header.MAX_STRENGTH} percent |"),
        (3, f"| name length | 1 byte | 1..{header.MAX_MODEL_NAME} |"),
        (3, f"| weights hash | {header.WEIGHTS_HASH_BYTES} bytes |"),
        (3, f"S = max({header.SMALLEST_SIDE}, E) t = min(max({header.SMALLEST_SIDE}, s), S)"),
        (3, "b = (quality - 1) * S * S a = (100 - quality) * t * t"),
        (3, "level = (2 * b * (n - 1) + b + a) // (2 * (b + a))"),
        (5, f"salt ({keys.SALT_BYTES} bytes) | check ({keys.CHECK_BYTES} bytes) | ciphertext |"),
        (5, f"| tag ({keys.TAG_BYTES} bytes)"),
        (5, f"secret is {keys.SECRET_BYTES} random bytes"),
        (5, "`psic seal v1`"),
        (6, f"Symbols lie in -{entropy.MAX_SYMBOL}..{entropy.MAX_SYMBOL}."),
        (6, f"Sums lie in -{entropy.MAX_SYMBOL + moves.MAX_MOVE}..{entropy.MAX_SYMBOL + moves.MAX_MOVE}."),
        (7, f"c[s + 1] = {tables.TOTAL}, then {tables.TOTAL}"),
        (7, f"lie in -{tables.MAX_IN_TABLE}..{tables.MAX_IN_TABLE}."),
        (7, f"at most {tables.MAX_TABLES} tables"),
        (7, f"has {len(tables.SCALES)} tables"),
        (8, f"scale = range >> {tables.PRECISION}"),
        (9, f"in 0..{entropy.ESCAPE_CLASSES - 1}"),
        (9, f"{entropy.ESCAPE_CLASSES} entries: c[k] = 2^24 - (2^24 >> k) for k = 0..21, and c[22] = 2^24"),
        (4, f"(varint, 1..{icc.MAX_ICC_BYTES})"),
        (11, f"A move is an integer in -{moves.MAX_MOVE}..{moves.MAX_MOVE}"),
        (11, f"coded in min({moves.GROUPS}, M) + 1 batches"),
        (11, f"c = {moves._MAGNITUDES} * (k // {moves._INDEXES}) + min({moves._MAGNITUDES - 1}, |s|)"),
        (11, f"one of {len(moves._PRIOR)}"),
        (11, f"B = {', '.join(map(str, moves._BY_INDEX))}"),
        (11, f"F = {', '.join(map(str, moves._BY_MAGNITUDE))}"),
        (11, f"+ {moves._CLASS_TRUST} * r * prior[c] // 256) // (n[c] + {moves._CLASS_TRUST})"),
        (11, f"near(x)[i, j] = {moves._OWN_WEIGHT} * x[i, j]"),
        (
            11,
            f"+ {moves._PLACE_TRUST}) * 2^32 // (near(expected)[i, j] + {moves._PLACE_TRUST} * 2^{moves.CHANCE_BITS})",
        ),
        (11, f"at most {moves._LARGEST_CHANCE}."),
        (11, f"u = {', '.join(map(str, moves._TOWARDS))}"),
        (11, f"o = 0, s = {moves._KINDS} and"),
        (12, f"y_hat * {255 / LATENT_SCALE:.1f} / 255"),
        (12, f"has {LEARNED_QUALITIES} rows"),
        (13, f"a format version other than {container.VERSION}"),
        (13, f"one beyond {moves.MAX_MOVE}"),
        (13, f"a colour profile of more than {icc.MAX_ICC_BYTES} bytes"),
        (13, f"a seal shorter than {keys.SEAL_BYTES} bytes"),
        (13, f"a symbol beyond {entropy.MAX_SYMBOL}"),
    ],
)
def test_a_statement_of_the_page_is_what_the_code_does(number, statement):
    assert statement in " ".join(chapter(number).split())


def test_the_page_makes_its_promise():
    assert "Anything that can change what an encoder writes or what a decoder reads raises a version" in " ".join(
        PAGE.split()
    )


def test_every_link_inside_the_page_has_a_target():
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    anchors = {"#" + re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    links = re.findall(r"\]\((#[^)]*)\)", PAGE)
    assert set(links) <= anchors
    assert "10 Integer entropy network" in titles


def test_the_table_of_sections_is_the_one_of_the_code():
    rows = re.findall(r"^\| `0x(..)` \| (\w+) \| .* \| (\S+) \| (\S+) \| (\S+) \|$", chapter(4), re.MULTILINE)
    assert [(int(number, 16), name) for number, name, *_ in rows] == [
        (int(section), section.name) for section in Section
    ]
    places = (container._SEALED_FILE, container._OPEN_FILE, container._INSIDE_SEAL)
    for _, name, *words_in_row in rows:
        for place, word in zip(places, words_in_row, strict=True):
            section = Section[name]
            assert word == ("must" if section in place.must else "may" if section in place.may else "-")


# The example


def example() -> bytes:
    block = re.search(r"```\n(.*?)```", chapter(14), re.DOTALL)
    assert block is not None
    return bytes.fromhex("".join(re.split(r" {2,}", line)[0] for line in block.group(1).splitlines()))


def payloads() -> dict[str, tuple[list[int], list[int], list[int]]]:
    """Symbols, indexes and words of each payload that the example lists."""
    rows = re.findall(r"^\| (z|y|moves) \| (.*?) \| (.*?) \| (.*?) \|$", chapter(14), re.MULTILINE)
    numbers = {name: [int(number) for number in symbols.split(",")] for name, symbols, _, _ in rows}
    indexes = {name: [int(number) for number in given.split(",")] for name, _, given, _ in rows if given != "as y"}
    return {
        name: (
            numbers[name],
            indexes.get(name, indexes["y"]),
            [int(word, 16) for word in re.findall(r"0x[0-9a-f]{8}", coded)],
        )
        for name, _, _, coded in rows
    }


def planes(numbers: list[int]) -> np.ndarray:
    """y, or what belongs to it, as the example has it."""
    return np.array(numbers, np.int32).reshape(2, 2, 2)


def coded(name: str) -> bytes:
    symbols, indexes, _ = payloads()[name]
    if name == "moves":
        return encode_moves(planes(symbols), planes(payloads()["y"][0]), planes(indexes))
    return encode_symbols(symbols, indexes, EXAMPLE_TABLES)


def test_the_example_tables_are_the_ones_tested():
    rows = re.findall(r"^    ([\d ]+)$", chapter(14), re.MULTILINE)
    assert [[int(number) for number in row.split()] for row in rows] == EXAMPLE_TABLES.cumulative.tolist()


def test_the_words_of_the_example_are_what_the_code_writes():
    assert set(payloads()) == {"z", "y", "moves"}
    for name, (_, _, listed) in payloads().items():
        assert words(coded(name)) == listed


def test_the_example_is_a_file_that_the_code_writes():
    data = example()
    read = container.unpack(data)
    assert container.pack(read) == data
    assert [read.sections[Section.Z], read.sections[Section.Y]] == [coded("z"), coded("y")]
    salt = read.sections[Section.SEALED][:16]
    plaintext = container.pack_sections({Section.MOVES: coded("moves")})
    assert keys.seal(SECRET, plaintext, container.associated_data(data), salt) == read.sections[Section.SEALED]
    assert f"ciphertext of {plaintext.hex(' ')}" in chapter(14)


def test_the_second_reader_reads_the_example():
    file = second_reader.read_file(example())
    assert (file.width, file.height, file.quality, file.strength) == (4000, 3000, 50, 100)
    assert (file.model, file.sealed, file.grey) == ("psic-base", True, False)
    assert file.associated_data is not None
    opened = second_seal.open_seal(SECRET, file.sections["SEALED"], file.associated_data)
    tables_read = second_reader.tables_of(
        EXAMPLE_TABLES.cumulative.tolist(), EXAMPLE_TABLES.sizes.tolist(), EXAMPLE_TABLES.offsets.tolist()
    )
    for name in ("z", "y"):
        symbols, indexes, _ = payloads()[name]
        assert second_reader.decode_symbols(file.sections[name.upper()], indexes, tables_read) == symbols
    y, indexes = (planes(numbers).tolist() for numbers in payloads()["y"][:2])
    assert second_network.decode_moves(opened["MOVES"], y, indexes) == planes(payloads()["moves"][0]).tolist()


def test_the_package_file_is_empty():
    assert Path(str(bitstream.__file__)).read_bytes() == b""


def test_the_key_file_is_laid_out_as_the_page_says(tmp_path):
    secret = keys.create_key_file(tmp_path / "key.bin")
    data = (tmp_path / "key.bin").read_bytes()
    magic = re.search(r"`((?:0x[0-9a-f]{2} ?)+)` \| secret \(32 bytes\) \| CRC-32", chapter(5))
    assert magic is not None
    start = bytes(int(byte, 16) for byte in magic.group(1).split())
    assert data == start + secret + second_reader.crc32(start + secret).to_bytes(4, "little")
