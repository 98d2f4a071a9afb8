"""What workers must remember when one of them dies, and the key: one actor, in memory alone.

Ray starts a worker's task anew if the worker dies in it, from its first picture. Before a picture appears its worker
notes here what it will look like, so that whoever comes to it again tells our own file from a stranger's, and a picture
that kills its workers is given up.

Keys get here, and to workers, as arguments and results of calls, which Ray sends from process to process: unlike a
worker's constructor arguments, nothing as small as they are enters the object store, the control store or a log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Secret:
    """32 bytes that no repr shows."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Secret()"


@dataclass
class Entry:
    """What is known of one picture. attempts: how often it was begun. outcome: pickled, once it is settled; digest: of
    the file that it has, None if it has none. published: the file is there.
    """

    attempts: int = 0
    outcome: bytes | None = None
    digest: bytes | None = None
    published: bool = False

    @property
    def is_appearing(self) -> bool:
        """Whether its file may be half written."""
        return self.digest is not None and not self.published


class Ledger:
    """The actor. Entries are forgotten when their row has been reported: it remembers what is being worked on."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._secret: Secret | None = None
        self._stopped = False

    def keep(self, secret: Secret) -> None:
        """The key for all workers."""
        self._secret = secret

    def secret(self) -> Secret | None:
        """What `keep` was given."""
        return self._secret

    def begun(self, indexes: list[int]) -> bool:
        """Whether a worker has come to one of these before, and died since."""
        return any(index in self._entries for index in indexes)

    def begin(self, index: int) -> Entry:
        """A worker comes to a picture."""
        entry = self._entries.setdefault(index, Entry())
        entry.attempts += 1
        return entry

    def settle(self, index: int, outcome: bytes, digest: bytes | None) -> bool:
        """Before its file appears. False if it must not, as everything has been stopped."""
        if self._stopped:
            return False
        entry = self._entries.setdefault(index, Entry())
        entry.outcome, entry.digest = outcome, digest
        return True

    def published(self, index: int) -> None:
        """Its file is there."""
        if index in self._entries:
            self._entries[index].published = True

    def forget(self, indexes: list[int]) -> None:
        """Their rows are in the report."""
        for index in indexes:
            self._entries.pop(index, None)

    def stop(self) -> list[tuple[int, Entry]]:
        """Let nothing more appear. Gives what is settled; files that are not published may be appearing right now."""
        self._stopped = True
        return [(index, entry) for index, entry in self._entries.items() if entry.outcome is not None]


def start(secret: bytes | None) -> Any:
    """A ledger in the cluster that this process is connected to; it lives as long as its handle. secret: the key."""
    import ray

    # Without restarts: one that has forgotten would let workers take their own files for those of others.
    ledger = ray.remote(Ledger).options(num_cpus=0, max_restarts=0).remote()
    if secret is not None:
        ray.get(ledger.keep.remote(Secret(secret)))
    return ledger
