"""The seal of .psic files for the second reader, from section 5 of bitstream/FORMAT.md alone."""

import hashlib
import hmac
import struct

from tests.bitstream.second_reader import Bytes, read_list, require


def open_seal(secret: bytes, payload: bytes, associated_data: bytes) -> dict[str, bytes]:
    """The sections inside the seal, by name."""
    require(len(payload) >= 36, "the seal is too short")
    salt, check, ciphertext, tag = payload[:16], payload[16:20], payload[20:-16], payload[-16:]
    derived = hkdf_sha256(secret, salt, b"psic seal v1", 36)
    require(derived[32:] == check, "another key")
    one_time_key = chacha20_block(derived[:32], 0)[:32]
    padded = pad16(associated_data) + pad16(ciphertext)
    lengths = struct.pack("<QQ", len(associated_data), len(ciphertext))
    require(poly1305(one_time_key, padded + lengths) == tag, "the tag does not fit")
    blocks = range(0, len(ciphertext), 64)
    stream = b"".join(chacha20_block(derived[:32], 1 + number) for number in range(len(blocks)))
    plaintext = bytes(a ^ b for a, b in zip(ciphertext, stream, strict=False))
    return read_list(Bytes(plaintext), "inside the seal")[0]


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    pseudorandom = hmac.digest(salt, secret, hashlib.sha256)
    output = block = b""
    while len(output) < length:
        block = hmac.digest(pseudorandom, block + info + bytes((len(output) // 32 + 1,)), hashlib.sha256)
        output += block
    return output[:length]


def chacha20_block(key: bytes, counter: int) -> bytes:
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter, 0, 0, 0]
    state = list(start)

    def quarter_round(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            mixed = state[z] ^ state[x]
            state[z] = (mixed << turn | mixed >> 32 - turn) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter_round(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter_round(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(state, start, strict=True)))


def poly1305(key: bytes, message: bytes) -> bytes:
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at : at + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def pad16(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)
