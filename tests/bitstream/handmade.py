"""Files put together by hand, right in everything but what a test makes wrong."""

from collections.abc import Callable

import numpy as np
import pytest

from psic_cli.bitstream import moves
from psic_cli.bitstream.container import MAGIC, VERSION, unpack
from psic_cli.bitstream.entropy import Encoder
from psic_cli.bitstream.reader import pack_varint
from psic_cli.errors import FormatError
from tests.bitstream.strategies import WEIGHTS_HASH, with_checksum


def refusal(data: bytes, read: Callable[[bytes], object] = unpack) -> FormatError:
    """The FormatError that these bytes give, whose words are held to the house style on the way."""
    with pytest.raises(FormatError) as caught:
        read(data)
    message = str(caught.value)
    assert message[0].islower(), message
    assert not message.endswith("."), message
    assert message.isascii(), message
    assert message.isprintable(), message
    return caught.value


def header_bytes(
    flags: int = 1,
    width: bytes = b"\x05",
    height: bytes = b"\x05",
    quality: int = 50,
    strength: int = 100,
    name: bytes = b"m",
    name_length: int | None = None,
    rest: bytes = WEIGHTS_HASH,
) -> bytes:
    length = len(name) if name_length is None else name_length
    return bytes((flags,)) + width + height + bytes((quality, strength)) + bytes((length,)) + name + rest


def section(number: int, payload: bytes = b"") -> bytes:
    return bytes((number,)) + pack_varint(len(payload)) + payload


Z, Y, MOVES, SEAL = (section(number) for number in (0x01, 0x02, 0x03, 0x7F))


def file_of(
    *sections: bytes,
    header: bytes | None = None,
    count: bytes | None = None,
    after: bytes = b"",
    version: int = VERSION,
) -> bytes:
    """A file put together by hand, its checksum right."""
    fields = header_bytes() if header is None else header
    number = pack_varint(len(sections)) if count is None else count
    return with_checksum(
        MAGIC + bytes((version,)) + pack_varint(len(fields)) + fields + number + b"".join(sections) + after
    )


def moves_spelled(found: moves.Integers, symbols: moves.Integers, index: moves.Integers) -> bytes:
    """What encode_moves would give if it checked nothing and knew no empty payload."""
    encoder = Encoder()

    def code(channels, tables):
        encoder.encode((found[channels] != 0).ravel().astype(np.int32), tables, moves.CHANCE_TABLES)
        return found[channels] != 0

    moves._walk(symbols, index, code)
    where = found != 0
    kinds = 2 * (np.abs(found[where]) - 1) + (np.sign(found[where]) != moves._towards_zero(symbols[where]))
    encoder.encode(kinds, moves._kind_tables(symbols, index, where), moves.KINDS)
    return encoder.compressed()
