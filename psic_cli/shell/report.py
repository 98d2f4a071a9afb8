"""The machine-readable report of a batch: one JSON line per picture, written as the work goes on, so that a stop loses
nothing.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psic_cli.errors import OutputError, UsageError
from psic_cli.shell.streams import STANDARD_STREAM, Streams, reason, refuse_key
from psic_cli.shell.terminal import name_of
from psic_cli.shell.worklist import Worklist, identity, stream_name

Record = dict[str, Any]


@contextmanager
def open_report(
    name: str | None, worklist: Worklist, streams: Streams, *, overwrite: bool, append: bool
) -> Iterator[Callable[[Record], None]]:
    """What takes the records; without a name they go nowhere, "-" is standard output.

    append: go on with an existing report, as --skip-existing goes on with a batch. Otherwise an existing one is kept
    unless `overwrite`. Raises `OutputError` for a file that exists, is a key, an input or an output, or cannot be
    written; `UsageError` if standard output is taken.
    """
    name = None if name is None else stream_name(name)
    if name is None:
        yield lambda record: None
    elif name == STANDARD_STREAM:
        if any(task.destination is None for task in worklist.tasks):
            raise UsageError(
                "the picture and the report cannot both go to standard output", "name a file with --report"
            )
        yield lambda record: streams.write_text(_line(record))
    else:
        path = Path(name)
        _check_separate(path, worklist)
        refuse_key(path)
        try:
            with open(_open(path, overwrite, append), "ab", buffering=0) as file:
                yield lambda record: _write(file.write, record, path)
        except FileExistsError:
            raise OutputError(f"{name_of(path)} exists", "use --force to replace it, or name another report") from None


def _write(write: Callable[[bytes], Any], record: Record, path: Path) -> None:
    try:
        write(_line(record).encode())
    except OSError as error:
        raise OutputError(f"cannot write {name_of(path)}: {reason(error)}") from error


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"


def _check_separate(path: Path, worklist: Worklist) -> None:
    place = os.path.realpath(path)
    for task in worklist.tasks:
        if task.destination is not None and os.path.realpath(task.destination) == place:
            raise OutputError(f"{name_of(path)} is both the report and an output", "name another report")
        if task.source is not None and identity(path) is not None and identity(task.source) == identity(path):
            raise OutputError(f"{name_of(path)} is both the report and an input", "name another report")


def _open(path: Path, overwrite: bool, append: bool) -> int:
    try:
        special = path.exists() and not stat.S_ISREG(path.stat().st_mode)
        kept = os.O_APPEND if append or special else os.O_TRUNC if overwrite else os.O_EXCL
        return os.open(path, os.O_WRONLY | os.O_CREAT | kept | getattr(os, "O_BINARY", 0), 0o666)
    except FileExistsError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {name_of(path)}: {reason(error)}") from error
