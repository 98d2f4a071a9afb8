"""Run psic as a user would: arguments and standard input in; standard output, standard error and the exit code out.

`psic` runs in this process, with files in place of descriptors 0 to 2, so that torch is imported once for all tests;
`psic_process` starts a new one, for what only a process shows (signals, imports, pipes that close).
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from psic_cli.app import run

ROOT = Path(__file__).parents[2]
HANGING = 1200  # seconds; on a machine that others keep busy a command takes ten times as long as on an idle one


class Result(bytes):
    """Standard output, with all else beside it."""

    code: int
    stderr: str

    @property
    def stdout(self) -> str:
        return self.decode()

    @property
    def errors(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("psic: error: ")]


def psic(*arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None) -> Result:
    """Run one command line in this process. stdin None is an empty standard input, which is not a terminal either."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin or b"")
        files[0].seek(0)
        if cwd is not None:
            stack.callback(os.chdir, os.getcwd())
            os.chdir(cwd)
        stack.enter_context(mock.patch.dict(os.environ))  # a command may set some for its children
        words = [str(argument) for argument in arguments]
        with mock.patch.object(sys, "argv", ["psic", *words]), _descriptors(*(file.fileno() for file in files)):
            code = run(words)
        outputs = []
        for file in files[1:]:
            file.seek(0)
            outputs.append(file.read())
    result = Result(outputs[0])
    result.code, result.stderr = code, outputs[1].decode()
    return result


def psic_process(
    *arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None, **environment: str
) -> Result:
    """Run one command line in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        input=stdin or b"",
        capture_output=True,
        cwd=cwd,
        env=child_environment(**environment),
        timeout=HANGING,
    )
    result = Result(done.stdout)
    result.code, result.stderr = done.returncode, done.stderr.decode()
    return result


def command(*arguments: str | Path) -> list[str]:
    """The words that start psic in a process, whether it is installed or not."""
    return [sys.executable, "-m", "psic_cli", *map(str, arguments)]


def child_environment(**changes: str) -> dict[str, str]:
    """What a child process of a test should see."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | changes


@contextlib.contextmanager
def _descriptors(*replacements: int) -> Iterator[None]:
    """Put other files under descriptors 0, 1 and 2, and Python's streams on top of them."""
    streams = sys.stdin, sys.stdout, sys.stderr
    saved = [os.dup(number) for number in range(3)]
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for number, replacement in enumerate(replacements):
            os.dup2(replacement, number)
        sys.stdin, sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(number, mode, closefd=False), write_through=True)
            for number, mode in enumerate(("rb", "wb", "wb"))
        )
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, original in enumerate(saved):
            os.dup2(original, number)
            os.close(original)
