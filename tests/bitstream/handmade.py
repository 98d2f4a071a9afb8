"""Files put together by hand, right in everything but what a test makes wrong."""

from collections.abc import Callable

import pytest

from psic_cli.bitstream.container import MAGIC, PLAIN, unpack
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
    public_quality: int | None = None,
    name: bytes = b"m",
    name_length: int | None = None,
    rest: bytes = WEIGHTS_HASH,
) -> bytes:
    public = b"" if public_quality is None else bytes((public_quality,))
    length = len(name) if name_length is None else name_length
    return bytes((flags,)) + width + height + bytes((quality, strength)) + public + bytes((length,)) + name + rest


def section(number: int, payload: bytes = b"") -> bytes:
    return bytes((number,)) + pack_varint(len(payload)) + payload


Z, Y_PUBLIC, Y_PRIVATE, REFINEMENT, SEAL = (section(number) for number in (0x01, 0x02, 0x03, 0x08, 0x7F))


def file_of(
    *sections: bytes, header: bytes | None = None, count: bytes | None = None, after: bytes = b"", version: int = PLAIN
) -> bytes:
    """A file put together by hand, its checksum right."""
    fields = header_bytes() if header is None else header
    number = pack_varint(len(sections)) if count is None else count
    return with_checksum(
        MAGIC + bytes((version,)) + pack_varint(len(fields)) + fields + number + b"".join(sections) + after
    )
