"""The colour profile in section ICC, read from bitstream/FORMAT.md alone, as `second_reader` reads all else."""

import zlib

from tests.bitstream.second_reader import Bytes, Refused, require


def read_profile(payload: bytes) -> bytes | None:
    """The colour profile in ICC; None for an sRGB profile of the reader's own."""
    if not payload:
        return None
    source = Bytes(payload)
    size = source.varint()
    require(1 <= size <= 4194304, "the profile's size is out of range")
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(payload[source.at :], size + 1)
    except zlib.error:
        raise Refused("the profile is damaged") from None
    require(len(profile) == size and stream.eof and not stream.unused_data, "the profile has another size")
    return profile
