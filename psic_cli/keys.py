"""Key files, and the sealing of what only a key holder may see. Nothing here knows pictures, containers or terminals.

A secret is 32 random bytes in a small file. Every `.psic` file gets its own key, derived from the secret and a salt in
the file:

    secret, salt --HKDF-SHA256--> key 32 bytes, check 4 bytes
    sealed = salt 16 | check 4 | ChaCha20-Poly1305(key, nonce 0, plaintext, associated data) | tag 16

The check tells a wrong key from a damaged file; as it is salted, two files of one owner have nothing in common. The
secret never appears in a message, a repr or a log: functions take and return it as plain bytes, and no error holds it.

Start with `create_key_file`, `read_key_file`, `seal` and `open_sealed`.
"""

import contextlib
import errno
import hmac
import itertools
import os
import re
import secrets
import stat
import zlib
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from platformdirs import user_config_path

from psic_cli.errors import ConditionError, FormatError, OutputError

SECRET_BYTES = 32
SALT_BYTES = 16
CHECK_BYTES = 4
TAG_BYTES = 16
SEAL_BYTES = SALT_BYTES + CHECK_BYTES + TAG_BYTES  # what sealing adds to the plaintext
_CIPHERTEXT = SALT_BYTES + CHECK_BYTES  # where it starts

_MAGIC = b"psic key 1\n"
_MAGIC_ANY_VERSION = b"psic key "
# What makes a file a key, whatever became of it: any version, cut, damaged, or copied in text mode.
_ANY_KEY = re.compile(rb"psic key [0-9]+\r?\n")
KEY_FILE_BYTES = len(_MAGIC) + SECRET_BYTES + 4
# Fixed, because the key is fresh for every file: (key, nonce) never repeats as long as salts do not.
_NONCE = bytes(12)
_KEYGEN_HINT = "make one with: psic keygen FILE"
_COPY_HINT = "copy it again, in binary mode"


def create_key_file(path: Path) -> bytes:
    """Make a new secret, store it at `path` and return it [32 bytes].

    The file is readable by its owner only, appears whole or not at all, and never replaces anything. Missing folders
    are made (mode 0700) for the user's own key alone; elsewhere they are likely a typing error. Raises OutputError.
    """
    if path == own_key_path():
        _make_private_folders(path.parent)
    secret = secrets.token_bytes(SECRET_BYTES)
    body = _MAGIC + secret
    try:
        _write_new_file(path, body + zlib.crc32(body).to_bytes(4, "little"))
    except FileExistsError:
        raise OutputError(f"{path} exists, and a key file is never overwritten", "name another file with -o") from None
    except FileNotFoundError:
        raise OutputError(f"the folder {path.parent} does not exist", "make it first, or name another file") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {_reason(error)}") from None
    return secret


def read_key_file(path: Path) -> bytes:
    """Read the secret [32 bytes] from a key file; a pipe such as `<(...)` will do. Raises ConditionError."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(KEY_FILE_BYTES + 1)  # bounded, whatever the path turns out to be
    except FileNotFoundError:
        raise ConditionError(f"the key file {path} does not exist", _KEYGEN_HINT) from None
    except OSError as error:
        if path.is_dir():  # asked only now: Windows reports a folder as "permission denied"
            raise ConditionError(f"{path} is a folder, not a key file", _KEYGEN_HINT) from None
        raise ConditionError(f"the key file {path} cannot be read: {_reason(error)}") from None
    return read_key_bytes(data, str(path))


def read_key_bytes(data: bytes, name: str) -> bytes:
    """Take the secret [32 bytes] out of a key file's content; `name` is how messages call it. Raises ConditionError."""
    if not data:
        raise ConditionError(f"the key file {name} is empty", _KEYGEN_HINT)
    if _is_text_copy(data):
        raise ConditionError(f"the key file {name} was copied in text mode, which changed its line ends", _COPY_HINT)
    if not data.startswith(_MAGIC):
        # A cut magic is a cut file. Nothing of the content is shown: it may be somebody's secret in another form.
        if data.startswith(_MAGIC_ANY_VERSION) and len(data) >= len(_MAGIC):
            raise ConditionError(f"the key file {name} is of a version this psic does not know", "install a newer psic")
        raise ConditionError(f"{name} is not a key file", _KEYGEN_HINT)
    if len(data) != KEY_FILE_BYTES:
        wrong = "is cut short" if len(data) < KEY_FILE_BYTES else f"is longer than {KEY_FILE_BYTES} bytes"
        raise ConditionError(f"the key file {name} {wrong}", _COPY_HINT)
    if not _is_intact(data):
        raise ConditionError(f"the key file {name} is damaged: its checksum differs", _COPY_HINT)
    return data[len(_MAGIC) : -4]


def is_key_file(path: Path) -> bool:
    """Whether a file holds a key, of any version and in any state. False for devices and pipes, which are not read.

    Raises OSError if it does not exist or cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        return False
    with open(path, "rb") as stream:
        return is_key(stream.read(KEY_FILE_BYTES))


def is_key(data: bytes) -> bool:
    """Whether the bytes of a file are those of a key, of any version and in any state."""
    return _ANY_KEY.match(data) is not None


def own_key_path() -> Path:
    """Where the user's own key lives: `key.bin` in the platform's configuration folder for psic."""
    return user_config_path("psic", appauthor=False) / "key.bin"


def fingerprint(secret: bytes) -> str:
    """A name for a key that people can compare: 16 hexadecimal digits, from which the secret cannot be found."""
    return _derive(secret, b"", b"psic fingerprint v1", 8).hex()


def is_exposed(path: Path) -> bool:
    """Whether other users of this machine can read the key file. False for pipes, and where modes mean nothing."""
    if os.name != "posix":
        return False
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def seal(secret: bytes, plaintext: bytes, associated_data: bytes, salt: bytes | None = None) -> bytes:
    """Encrypt `plaintext` and authenticate it together with `associated_data`; 36 bytes longer than the plaintext.

    `salt` [16 bytes] is drawn at random unless given. Give it in tests only: the same secret and salt for two
    plaintexts would reveal both.
    """
    if salt is None:
        salt = secrets.token_bytes(SALT_BYTES)
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    key, check = _key_and_check(secret, salt)
    return salt + check + ChaCha20Poly1305(key).encrypt(_NONCE, plaintext, associated_data)


def open_sealed(secret: bytes, sealed: bytes, associated_data: bytes) -> bytes:
    """Give back the plaintext of `seal`.

    Raises ConditionError if the secret is another one, FormatError if the sealed bytes or the associated data changed.
    """
    if len(sealed) < SEAL_BYTES:
        raise FormatError(f"the sealed section is too short: {len(sealed)} bytes, at least {SEAL_BYTES} needed")
    salt, check, ciphertext = sealed[:SALT_BYTES], sealed[SALT_BYTES:_CIPHERTEXT], sealed[_CIPHERTEXT:]
    key, expected_check = _key_and_check(secret, salt)
    if not hmac.compare_digest(check, expected_check):
        raise ConditionError("the key does not fit this file", "use the key that the picture was encoded with")
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, ciphertext, associated_data)
    except InvalidTag:
        raise FormatError("the sealed section is damaged, or the file was changed after sealing") from None


def _key_and_check(secret: bytes, salt: bytes) -> tuple[bytes, bytes]:
    derived = _derive(secret, salt, b"psic seal v1", 32 + CHECK_BYTES)
    return derived[:32], derived[32:]


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def _is_intact(data: bytes) -> bool:
    """Whether this is a whole key file of our version."""
    checksum = zlib.crc32(data[:-4]).to_bytes(4, "little")
    return len(data) == KEY_FILE_BYTES and data.startswith(_MAGIC) and data[-4:] == checksum


def _is_text_copy(data: bytes) -> bool:
    """Whether a copy in text mode made this of a key file: LF became CRLF, or CRLF (in the secret) became LF."""
    begin = _ANY_KEY.match(data)
    if begin is None or begin[0].endswith(b"\r\n"):
        return begin is not None
    missing = KEY_FILE_BYTES - len(data)
    if missing not in (1, 2):  # more CRLF do not occur in 36 random bytes
        return False
    places = [place for place in range(begin.end(), len(data)) if data[place] == 0x0A]
    pieces = ([0, *chosen, len(data)] for chosen in itertools.combinations(places, missing))
    return any(_is_intact(b"\r".join(data[a:b] for a, b in itertools.pairwise(ends))) for ends in pieces)


def _make_private_folders(folder: Path) -> None:
    """Make `folder` and what is missing above it, readable by the owner only (mkdir alone does so for the last)."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        for place in reversed(missing):
            place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {folder} cannot be made: {_reason(error)}") from None


def _write_new_file(path: Path, content: bytes) -> None:
    """Write `content` [mode 0600] under a temporary name, then link it to `path`: nobody ever finds half a key."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write_exclusively(temporary, content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:
            # File systems without hard links (FAT, some network shares): exclusive, though no longer in one step.
            if error.errno not in {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EACCES}:
                raise
            _write_exclusively(path, content)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write_exclusively(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)  # half a key is worse than none
        raise


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
