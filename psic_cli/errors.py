"""Errors meant for people. Nothing here knows about terminals or exit codes.

A message is one line in lower case without a full stop; it names the value at fault. The next step goes into `hint`.
No message ever contains key material. The exit code of each class stands in `shell/exit_codes.py`.
"""


class PsicError(Exception):
    """Base of everything psic reports on purpose: shown as one line, without a traceback."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    # Exceptions rebuild themselves from `args` alone, which would drop the hint on the way back from a worker process.
    def __reduce__(self) -> tuple[type["PsicError"], tuple[str, str | None]]:
        return type(self), (str(self), self.hint)


class InputError(PsicError):
    """The picture cannot be read, is too large, or is of a kind psic does not take."""


class FormatError(PsicError):
    """Not a .psic file, a damaged one, or one of a newer format version."""


class ConditionError(PsicError):
    """The key file is missing or malformed, or its key does not fit the file."""


class ModelError(PsicError):
    """Weights are missing, their hash differs, or the model is unknown."""


class OutputError(PsicError):
    """The output exists, cannot be written, or must not go to a terminal."""


class UsageError(PsicError):
    """Options contradict each other or ask for something this machine does not have."""
