"""What encode, decode and audit do with the bytes of one picture, wherever it lies and whoever works on it.

A job is what was asked for, in plain values, so that it can be sent to another machine. It knows no files and no keys:
bytes and secret are given to its `work`, which fills in an `Outcome`.
"""

from collections.abc import Callable
from typing import Protocol

from psic_cli.shell.outcome import Outcome
from psic_cli.turns import Turn

# The 32 bytes of the key, asked for once a picture needs them; None where no key was asked for.
Secret = Callable[[], bytes] | None


class Job(Protocol):
    """One of the commands, as it works on one picture."""

    def load(self) -> None:
        """Get ready what every picture needs, so that what is wrong with that is one error and not one per picture."""

    def work(
        self,
        source: bytes,
        outcome: Outcome,
        secret: Secret,
        turn: Turn,
        advance: Callable[[int, int], None] | None = None,
    ) -> None:
        """The bytes of an input to `outcome.data`; raises to fail.

        turn: entered while a network computes (see turns.py). advance: told how many steps of how many are done.
        """
