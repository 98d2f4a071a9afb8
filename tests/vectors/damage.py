"""Frozen files with one thing wrong each, made of good ones: what every later psic must refuse, and why."""

from __future__ import annotations

import io
import random
import zlib
from dataclasses import dataclass
from unittest import mock

from PIL import Image

from psic_cli import keys, zoo
from psic_cli.bitstream import entropy
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
from psic_cli.bitstream.moves import MAX_MOVE
from psic_cli.bitstream.reader import pack_varint
from psic_cli.codec import Version
from psic_cli.icc import icc_to_payload
from psic_cli.latents import integers, level_of, read_latents
from psic_cli.networks.network import PsicNetwork
from tests.bitstream.handmade import moves_spelled
from tests.vectors.sources import FACE, ICC, OWNER, SAMPLES, ramp


def with_checksum(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def with_section(data: bytes, number: int, payload: bytes) -> bytes:
    """An open file with one more section behind its last one."""
    start = 6 + data[5]  # of the section list, whose count is one byte
    last = bytes((number,)) + pack_varint(len(payload)) + payload
    return with_checksum(data[:start] + bytes((data[start] + 1,)) + data[start + 1 : -4] + last)


def with_payload(data: bytes, section: Section, payload: bytes) -> bytes:
    """The file with another payload in one of its sections; nothing is sealed anew."""
    container = unpack(data)
    return pack(Container(container.header, {**container.sections, section: payload}))


def with_profile(data: bytes, payload: bytes) -> bytes:
    """An open file with other bytes in its ICC section."""
    return with_payload(data, Section.ICC, payload)


def sealed_anew(data: bytes, inside: bytes) -> bytes:
    """A sealed file with other bytes inside its seal, which is sound."""
    return with_payload(data, Section.SEALED, keys.seal(OWNER, inside, associated_data(data), bytes(16)))


def with_moves(data: bytes, payload: bytes) -> bytes:
    """A sealed file with other moves, sealed soundly."""
    return sealed_anew(data, pack_sections({Section.MOVES: payload}))


def with_bit_flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes((data[position] ^ 0x10,)) + data[position + 1 :]


@dataclass(frozen=True)
class Broken:
    """One bad file: what a decode of it must raise. key: owner | stranger | none."""

    about: str
    data: bytes
    error: str
    says: str
    version: Version = Version.PROTECTED
    key: str = "none"


def broken_files(good: dict[str, bytes], model: zoo.Model) -> dict[str, Broken]:
    sealed, plain, full = good["sealed"], good["open"], Version.FULL
    parts, here = unpack(sealed), model.card.weights_hash
    seal, noise = parts.sections[Section.SEALED], random.Random(2).randbytes
    latents = read_latents(parts.header, parts.sections, model)
    index = integers(latents.index)
    moves = unpack_sections(keys.open_sealed(OWNER, seal, associated_data(sealed)))[Section.MOVES]
    first_z_table = int(model.network.z_tables(level_of(parts.header, model))[0, 0])
    far_z = encode_symbols([0] * 5 + [128], range(first_z_table, first_z_table + 6), model.z_tables)
    start = sealed.index(here)
    other_weights = with_checksum(sealed[:start] + b"otherone" + sealed[start + 8 : -4])
    other_model = with_checksum(plain.replace(b"\x04tiny", b"\x04gone", 1)[:-4])
    height = plain.index(b"\x40\x30", 6) + 1
    taller = with_checksum(plain[:height] + b"\x7f" + plain[height + 1 : -4])
    words = parts.sections[Section.Y]
    far_y = words_beyond_symbols(model)
    png = Image.fromarray(ramp(49, 64))
    coded = icc_to_payload(ICC)
    return {
        "empty": Broken("no bytes at all", b"", "FormatError", "is empty"),
        "png": Broken("another kind of file", (SAMPLES / "one_pixel.png").read_bytes(), "FormatError", "not a .psic"),
        "truncated": Broken("its last third is missing", sealed[: len(sealed) * 2 // 3], "FormatError", "checksum"),
        "cut-in-header": Broken("eight bytes", sealed[:8], "FormatError", "damaged"),
        "trailing-byte": Broken("one byte too many", sealed + b"\0", "FormatError", "checksum"),
        "flipped-bit": Broken("one bit differs", with_bit_flipped(sealed, 200), "FormatError", "checksum"),
        "newer-version": Broken("format version 2", sealed[:4] + b"\x02" + sealed[5:], "FormatError", "version 2"),
        "moves-missing": Broken(
            "no moves behind the seal", sealed_anew(sealed, b"\0"), "FormatError", "MOVES is missing", full, "owner"
        ),
        "moves-garbage": Broken(
            "random moves", with_moves(sealed, noise(400)), "FormatError", "damaged", full, "owner"
        ),
        "moves-cut": Broken("moves end early", with_moves(sealed, moves[:-4]), "FormatError", "damaged", full, "owner"),
        "moves-odd-bytes": Broken(
            "moves of one byte more", with_moves(sealed, moves + b"\0"), "FormatError", "words", full, "owner"
        ),
        "moves-none": Broken(
            "moves that say that there are none, which no bytes say",
            with_moves(sealed, moves_spelled(0 * latents.y, latents.y, index)),
            "FormatError",
            "there is none",
            full,
            "owner",
        ),
        "moves-far": Broken(
            "moves beyond 2^15",
            with_moves(sealed, moves_spelled(0 * latents.y + MAX_MOVE + 1, latents.y, index)),
            "FormatError",
            "outside",
            full,
            "owner",
        ),
        "required-section": Broken("an unknown one", with_section(plain, 0x10, b"?"), "FormatError", "section 0x10"),
        "other-weights": Broken("of a model not here", other_weights, "ModelError", b"otherone".hex()),
        "other-model": Broken("of a model not here", other_model, "ModelError", "gone"),
        "wrong-key": Broken("a sound file", sealed, "ConditionError", "does not fit", full, "stranger"),
        "no-key": Broken("a sound file", sealed, "ConditionError", "need the key", Version.MACHINE),
        "z-too-large": Broken("a z of 128", with_payload(plain, Section.Z, far_z), "FormatError", "outside -127..127"),
        "z-garbage": Broken("random z", with_payload(sealed, Section.Z, noise(24)), "FormatError", "damaged"),
        "z-empty": Broken("no z", with_payload(sealed, Section.Z, b""), "FormatError", "damaged"),
        "y-garbage": Broken("random y", with_payload(sealed, Section.Y, noise(300)), "FormatError", "damaged"),
        "y-empty": Broken("no y", with_payload(sealed, Section.Y, b""), "FormatError", "damaged"),
        "y-cut": Broken("y ends early", with_payload(sealed, Section.Y, words[:-4]), "FormatError", "damaged"),
        "y-odd-bytes": Broken("y of 3 bytes", with_payload(sealed, Section.Y, b"abc"), "FormatError", "words"),
        "y-too-large": Broken("a y beyond 2^20", with_payload(plain, Section.Y, far_y), "FormatError", "damaged"),
        "taller": Broken("the header says 127 rows", taller, "FormatError", "damaged"),
        "alpha-size": Broken("49 rows", with_payload(plain, Section.ALPHA, png_bytes(png)), "FormatError", "alpha"),
        "alpha-mode": Broken(
            "alpha in colour",
            with_payload(plain, Section.ALPHA, png_bytes(Image.fromarray(FACE[:48, :64]))),
            "FormatError",
            "alpha",
        ),
        "alpha-garbage": Broken(
            "alpha is no PNG", with_payload(plain, Section.ALPHA, noise(99)), "FormatError", "alpha"
        ),
        "version-0": Broken(
            "format version 0", with_checksum(sealed[:4] + b"\0" + sealed[5:-4]), "FormatError", "version 0"
        ),
        "profile-garbage": Broken("no zlib stream", with_profile(plain, b"\x63" + noise(99)), "FormatError", "profile"),
        "profile-cut": Broken("its profile is cut", with_profile(plain, coded[:-5]), "FormatError", "profile"),
        "profile-longer": Broken("bytes behind it", with_profile(plain, coded + b"\0"), "FormatError", "profile"),
        "profile-bomb": Broken(
            "says 9 bytes, unpacks to 16 million",
            with_profile(plain, b"\x09" + zlib.compress(bytes(2**24), 9)),
            "FormatError",
            "another size",
        ),
        "profile-huge": Broken(
            "says 4 GB", with_profile(plain, pack_varint(2**32 - 1) + coded[1:]), "FormatError", "4294967295 bytes"
        ),
        "seal-flipped": Broken(
            "a bit of the ciphertext differs",
            with_payload(sealed, Section.SEALED, with_bit_flipped(seal, 40)),
            "FormatError",
            "sealed section is damaged",
            full,
            "owner",
        ),
        "seal-short": Broken(
            "a seal of 35 bytes", with_payload(sealed, Section.SEALED, seal[:35]), "FormatError", "short", full, "owner"
        ),
        "seal-malformed": Broken(
            "sealed soundly, but the list inside is cut",
            sealed_anew(sealed, b"\x01\x03"),
            "FormatError",
            "damaged",
            full,
            "owner",
        ),
        "public-changed": Broken(
            "the public part was changed after sealing",
            with_payload(sealed, Section.ICC, coded),
            "FormatError",
            "changed after sealing",
            full,
            "owner",
        ),
    }


def words_beyond_symbols(model: zoo.Model) -> bytes:
    """A payload whose first symbol decodes to more than 2^20; nothing in the package would write it."""
    assert isinstance(model.network, PsicNetwork)
    count = model.network.config.latents * 16 // 4  # of the first step of one cell of z
    with mock.patch.object(entropy, "MAX_SYMBOL", 2**20 + 1):
        return encode_symbols([2**20 + 1] + [0] * (count - 1), [30] * count, model.y_tables)


def png_bytes(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
