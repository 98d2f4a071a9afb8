"""Key files and sealing: what a key opens, what it must not, and that nothing ever shows it."""

import hashlib
import hmac
import os
import threading
import traceback
import zlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from psic_cli import keys
from psic_cli.errors import ConditionError, FormatError, OutputError, PsicError

SECRET = bytes(range(100, 132))
OTHER_SECRET = bytes(range(32))
SALT = bytes(range(16))

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes mean nothing here")


def hkdf_sha256(secret, salt, info, length):
    """RFC 5869 from the standard library alone."""
    extracted = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.new(extracted, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
        counter += 1
    return output[:length]


def key_file_bytes(secret, magic=b"psic key 1\n"):
    body = magic + secret
    return body + zlib.crc32(body).to_bytes(4, "little")


# Sealing


def test_the_reference_key_derivation_gives_the_answer_printed_in_rfc_5869():
    derived = hkdf_sha256(bytes([0x0B] * 22), bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert derived.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"  # its test case 1
    )


def test_sealed_bytes_are_salt_check_ciphertext_and_tag():
    sealed = keys.seal(SECRET, b"hidden", b"seen", SALT)
    derived = hkdf_sha256(SECRET, SALT, b"psic seal v1", 36)
    assert sealed[:16] == SALT
    assert sealed[16:20] == derived[32:]
    assert sealed[20:] == ChaCha20Poly1305(derived[:32]).encrypt(bytes(12), b"hidden", b"seen")
    assert len(sealed) == len(b"hidden") + keys.SEAL_BYTES == len(b"hidden") + 36


def test_sealed_bytes_are_the_frozen_ones():
    sealed = keys.seal(SECRET, b"hidden", b"seen", SALT)
    assert sealed.hex() == "000102030405060708090a0b0c0d0e0f47257c2a2536c2f3a6aebd0dcce056e4496a388b5525c12ef2e8"


@given(st.binary(max_size=200), st.binary(max_size=50), st.binary(min_size=32, max_size=32))
def test_what_is_sealed_opens_again(plaintext, associated_data, secret):
    assert keys.open_sealed(secret, keys.seal(secret, plaintext, associated_data), associated_data) == plaintext


def test_two_seals_of_the_same_plaintext_share_nothing():
    one, two = (keys.seal(SECRET, b"hidden" * 9, b"seen") for _ in range(2))
    assert one[:16] != two[:16]
    assert one[16:20] != two[16:20]
    assert one[20:] != two[20:]


def test_a_wrong_key_is_said_to_be_wrong():
    sealed = keys.seal(SECRET, b"hidden", b"seen", SALT)
    with pytest.raises(ConditionError, match="the key does not fit this file") as caught:
        keys.open_sealed(OTHER_SECRET, sealed, b"seen")
    assert caught.value.hint


def test_any_flipped_bit_in_the_ciphertext_or_tag_is_damage():
    sealed = keys.seal(SECRET, b"hidden", b"seen", SALT)
    for position in range(20, len(sealed)):
        for bit in range(8):
            damaged = bytearray(sealed)
            damaged[position] ^= 1 << bit
            with pytest.raises(FormatError):
                keys.open_sealed(SECRET, bytes(damaged), b"seen")


def test_a_flipped_salt_or_check_never_opens():
    sealed = keys.seal(SECRET, b"hidden", b"seen", SALT)
    for position in range(20):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(PsicError):
            keys.open_sealed(SECRET, bytes(damaged), b"seen")


def test_changed_public_bytes_are_damage():
    sealed = keys.seal(SECRET, b"hidden", b"seen", SALT)
    for other in (b"", b"Seen", b"seen "):
        with pytest.raises(FormatError):
            keys.open_sealed(SECRET, sealed, other)


def test_a_truncated_seal_is_damage_at_every_length():
    sealed = keys.seal(SECRET, b"hidden", b"seen", SALT)
    for length in range(len(sealed)):
        with pytest.raises(FormatError):
            keys.open_sealed(SECRET, sealed[:length], b"seen")


@pytest.mark.parametrize("secret", [b"", SECRET[:-1], SECRET + b"x"])
def test_a_secret_of_another_length_is_refused(secret):
    with pytest.raises(ValueError, match="32 bytes"):
        keys.seal(secret, b"", b"")
    with pytest.raises(ValueError, match="32 bytes"):
        keys.fingerprint(secret)


def test_a_salt_of_another_length_is_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        keys.seal(SECRET, b"", b"", SALT[:-1])


def test_the_fingerprint_is_short_and_stable():
    assert keys.fingerprint(SECRET) == hkdf_sha256(SECRET, b"", b"psic fingerprint v1", 8).hex()
    assert keys.fingerprint(SECRET) != keys.fingerprint(OTHER_SECRET)


# Key files


def test_a_new_key_file_reads_back(tmp_path):
    path = tmp_path / "key.bin"
    secret = keys.create_key_file(path)
    assert len(secret) == keys.SECRET_BYTES
    assert keys.read_key_file(path) == secret
    assert path.read_bytes() == key_file_bytes(secret)
    assert os.listdir(tmp_path) == ["key.bin"]


def test_two_new_keys_differ(tmp_path):
    assert keys.create_key_file(tmp_path / "a") != keys.create_key_file(tmp_path / "b")


@posix_only
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_a_new_key_file(tmp_path, umask):
    path = tmp_path / "key.bin"
    before = os.umask(umask)
    try:
        keys.create_key_file(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not keys.is_exposed(path)


def test_a_key_file_is_never_overwritten(tmp_path):
    path = tmp_path / "key.bin"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        keys.create_key_file(path)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["key.bin"]


@posix_only
def test_a_dangling_link_is_not_followed_when_a_key_is_made(tmp_path):
    link = tmp_path / "key.bin"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="exists"):
        keys.create_key_file(link)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("links", [True, False])
def test_of_many_processes_making_one_key_a_single_one_wins(tmp_path, monkeypatch, links):
    if not links:

        def no_links(*_):
            raise PermissionError(1, "Operation not permitted")  # what FAT says

        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "key.bin"
    made, refused = [], []

    def make():
        try:
            made.append(keys.create_key_file(path))
        except OutputError as error:
            refused.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(refused) == 7
    assert keys.read_key_file(path) == made[0]
    assert os.listdir(tmp_path) == ["key.bin"]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        keys.create_key_file(tmp_path / "key.bin")
    assert os.listdir(tmp_path) == []


def test_a_key_is_not_made_in_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        keys.create_key_file(tmp_path / "typo" / "key.bin")
    assert os.listdir(tmp_path) == []


def test_the_own_key_is_made_in_private_folders(tmp_path, monkeypatch):
    home = tmp_path / "config" / "deep"
    monkeypatch.setattr(keys, "user_config_path", lambda name, **_: home / name)
    path = keys.own_key_path()
    assert path == home / "psic" / "key.bin"
    keys.create_key_file(path)
    if os.name == "posix":
        for folder in (path.parent, home, home.parent):
            assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="the variable is Linux's")
def test_the_own_key_follows_the_platforms_configuration_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert keys.own_key_path() == tmp_path / "psic" / "key.bin"


def test_a_missing_key_file_is_named_with_a_next_step(tmp_path):
    with pytest.raises(ConditionError, match=r"nokey\.bin does not exist") as caught:
        keys.read_key_file(tmp_path / "nokey.bin")
    assert "keygen" in str(caught.value.hint)


def test_a_folder_is_not_a_key_file(tmp_path):
    with pytest.raises(ConditionError, match="is a folder"):
        keys.read_key_file(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7 and so on", "is not a key file"),
        (SECRET, "is not a key file"),
        (b"psic key", "is not a key file"),
        (key_file_bytes(SECRET, b"psic key 2\n"), "version this psic does not know"),
        (key_file_bytes(SECRET)[:-1], "is cut short"),
        (key_file_bytes(SECRET)[:11], "is cut short"),
        (key_file_bytes(SECRET) + b"\n", "is longer than 47 bytes"),
        (key_file_bytes(SECRET)[:-1] + b"\0", "is damaged"),
        (key_file_bytes(SECRET).replace(b"\n", b"\r\n"), "text mode"),
        (key_file_bytes(b"\r\n" + SECRET[2:]).replace(b"\r\n", b"\n"), "text mode"),
        (key_file_bytes(b"\r\n" + SECRET[2:])[:-1], "is cut short"),
    ],
)
def test_a_malformed_key_file_is_one_clear_line(tmp_path, content, message):
    path = tmp_path / "key.bin"
    path.write_bytes(content)
    with pytest.raises(ConditionError, match=message) as caught:
        keys.read_key_file(path)
    text = str(caught.value)
    assert "\n" not in text
    assert not text.endswith(".")
    assert caught.value.hint


@pytest.mark.parametrize("position", range(47))
def test_any_flipped_byte_in_a_key_file_is_noticed(position):
    damaged = bytearray(key_file_bytes(SECRET))
    damaged[position] ^= 0xFF
    with pytest.raises(ConditionError):
        keys.read_key_bytes(bytes(damaged), "standard input")


def test_an_endless_key_file_is_read_no_further_than_needed():
    if not os.path.exists("/dev/zero"):
        pytest.skip("no endless device here")
    with pytest.raises(ConditionError, match="is not a key file"):
        keys.read_key_file(Path("/dev/zero"))


@posix_only
def test_a_key_can_come_through_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(key_file_bytes(SECRET),))
    writer.start()
    assert keys.read_key_file(pipe) == SECRET
    writer.join()
    assert not keys.is_exposed(pipe)


@posix_only
@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_key_that_others_can_read_is_exposed(tmp_path, mode, exposed):
    path = tmp_path / "key.bin"
    keys.create_key_file(path)
    path.chmod(mode)
    assert keys.is_exposed(path) is exposed


def test_a_missing_file_is_not_exposed(tmp_path):
    assert not keys.is_exposed(tmp_path / "key.bin")


# Silence


def shown(error):
    return "".join(traceback.format_exception(error)) + repr(error) + str(error) + str(error.hint)


@pytest.mark.parametrize(
    "content", [SECRET, b"secret" + SECRET, key_file_bytes(SECRET)[:-1], key_file_bytes(SECRET) + b"x"]
)
def test_no_error_about_a_key_file_shows_its_secret(content):
    with pytest.raises(ConditionError) as caught:
        keys.read_key_bytes(content, "key.bin")
    for spelling in (SECRET.decode("latin-1"), SECRET.hex(), repr(SECRET)[2:-1], repr(content)[2:-1]):
        assert spelling not in shown(caught.value)


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
def test_no_error_about_a_seal_shows_the_secret(secret):
    sealed = bytearray(keys.seal(SECRET, b"hidden", b"seen"))
    sealed[-1] ^= 1
    with pytest.raises(PsicError) as caught:
        keys.open_sealed(secret, bytes(sealed), b"seen")
    for spelling in (secret.decode("latin-1"), secret.hex(), repr(secret)[2:-1]):
        assert spelling not in shown(caught.value)
