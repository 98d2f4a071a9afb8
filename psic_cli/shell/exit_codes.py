"""Exit codes: one enum and one table, so that scripts may rely on them. The README prints the same table."""

from enum import IntEnum, unique

from psic_cli.errors import (
    ConditionError,
    FormatError,
    InputError,
    ModelError,
    OutputError,
    UsageError,
)


@unique
class ExitCode(IntEnum):
    """What the process says when it ends."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    INPUT = 3
    FORMAT = 4
    CONDITION = 5
    MODEL = 6
    OUTPUT = 7
    PARTIAL = 8
    INTERRUPTED = 130


# A reader that went away (`psic info x | head -1`) is nobody's error: silent, with the code Python's own documentation
# uses.
READER_GONE = 1

_CODES: dict[type[BaseException], ExitCode] = {
    UsageError: ExitCode.USAGE,
    InputError: ExitCode.INPUT,
    FormatError: ExitCode.FORMAT,
    ConditionError: ExitCode.CONDITION,
    ModelError: ExitCode.MODEL,
    OutputError: ExitCode.OUTPUT,
    KeyboardInterrupt: ExitCode.INTERRUPTED,
}


def exit_code_for(error: BaseException) -> ExitCode:
    """The exit code of an exception; whatever is not in the table is a bug of ours."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return ExitCode.INTERNAL
