"""Which key a command uses: the order of design section 1, and the words that go with it. Key files themselves are
`keys.py`.

`encode` takes the file of --condition, else the one $PSIC_CONDITION names, else the user's own key, made on first use.
`decode`
uses a key only when asked: --condition, or --full for what `encode` would take by default.
"""

import os
import threading
from pathlib import Path

from psic_cli import keys
from psic_cli.errors import ConditionError, OutputError
from psic_cli.shell.streams import STANDARD_STREAM, Streams
from psic_cli.shell.terminal import name_of, terminal

ENVIRONMENT_VARIABLE = "PSIC_CONDITION"


class Condition:
    """A key that was asked for, known now or made when it is first needed. `secret` may be called from any thread."""

    def __init__(self, secret: bytes | None, own: Path | None = None, make: bool = False) -> None:
        self._secret = secret
        self._own = own
        self._make = make
        self._lock = threading.Lock()

    def secret(self) -> bytes:
        """The 32 secret bytes. Raises `ConditionError` or `OutputError` if the user's own key is missing or cannot be
        made.
        """
        with self._lock:
            if self._secret is None:
                assert self._own is not None
                self._secret = _make_own_key(self._own) if self._make else _read(self._own)
            return self._secret


def condition_for_encode(option: str | None, streams: Streams) -> Condition:
    """The key for sealing. A key file that was named must be there; only the user's own is made, and not before it is
    needed.
    """
    named = option or os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Condition(read_key(named, streams))
    own = keys.own_key_path()
    return Condition(_read(own)) if own.exists() else Condition(None, own, make=True)


def condition_for_decode(option: str | None, full: bool, streams: Streams) -> Condition | None:
    """The key for opening, or None if none was asked for. With --full a missing own key matters only once a sealed file
    comes.
    """
    if option is not None:
        return Condition(read_key(option, streams))
    if not full:
        return None
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Condition(read_key(named, streams))
    own = keys.own_key_path()
    return Condition(_read(own)) if own.exists() else Condition(None, own)


def warn_if_exposed(path: Path) -> None:
    """Say so if other users of this machine can read a key file."""
    if keys.is_exposed(path):
        terminal.warn(f"others can read the key file {name_of(path)}", f"chmod 600 {name_of(path)}")


def read_key(named: str, streams: Streams) -> bytes:
    """The 32 secret bytes of a key file that was named, "-" for standard input. Raises `ConditionError`."""
    if named == STANDARD_STREAM:
        return keys.read_key_bytes(streams.read(), "standard input")
    return _read(Path(named))


def _read(path: Path) -> bytes:
    if path == keys.own_key_path() and not path.exists():
        message = f"you have no key of your own: {name_of(path)} does not exist"
        raise ConditionError(message, "name the key file with --condition FILE")
    secret = keys.read_key_file(path)
    warn_if_exposed(path)
    return secret


def _make_own_key(path: Path) -> bytes:
    try:
        secret = keys.create_key_file(path)
    except OutputError:
        if path.exists():  # another psic made it at the same moment
            return _read(path)
        raise
    terminal.announce(f"made your key {name_of(path)}: without this file only the protected picture can be decoded")
    return secret
