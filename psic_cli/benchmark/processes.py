"""What a command takes in a process of its own: wall time, processor time, peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SHARE_OF_MEMORY = 0.9  # of what is free: the rest of the machine must go on


@dataclass(frozen=True)
class Spent:
    """Of one process. cpu_seconds, peak_bytes: None where the system does not tell."""

    seconds: float
    cpu_seconds: float | None
    peak_bytes: int | None


class CommandFailed(Exception):
    """A command did not end well, or not in time; the message says why, in one line."""


class TookTooLong(CommandFailed):
    """A command was stopped at its time limit."""


def measure(command: Sequence[str], threads: int, limit_seconds: float = 0.0) -> Spent:
    """Run `python COMMAND ...` in a fresh process, this psic_cli first on its path.

    limit_seconds: stop it then (0: never). It may take most of the memory that is free, so that a picture too large for
    this machine ends one command and not everything. Raises CommandFailed.
    """
    limits = [str(limit_seconds), str(round(_free_bytes() * _SHARE_OF_MEMORY))]
    launcher = [sys.executable, "-m", f"{__package__}.launcher"]
    done = subprocess.run(
        [*launcher, *limits, sys.executable, *command], stdout=subprocess.PIPE, env=environment(threads), check=True
    )
    report = json.loads(done.stdout)
    if "failed" in report:
        reason = str(report["failed"])
        if report.get("too_long"):
            raise TookTooLong(reason)
        memory = ("allocate", "MemoryError", "code -9", "bad_alloc")
        raise CommandFailed("needs more memory than is free" if any(m in reason for m in memory) else reason)
    return Spent(**report)


def environment(threads: int) -> dict[str, str]:
    """Of a process that finds this psic_cli and computes with so many threads."""
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }


def _free_bytes() -> int:
    """Memory that programs may still take; 0 where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)
