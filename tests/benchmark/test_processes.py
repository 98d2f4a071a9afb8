"""What a command takes in a process of its own, and what happens when it takes too much."""

import sys

import numpy as np
import pytest

from psic_cli.benchmark import processes
from psic_cli.benchmark.processes import CommandFailed, TookTooLong, measure


def test_the_peak_is_the_command_s_own_and_not_that_of_whoever_started_it():
    ballast = np.ones(400_000_000, np.uint8)  # every page is really used
    spent = measure(["-c", "import time; x = bytearray(b'x' * 60_000_000); time.sleep(0.2)"], 1)
    assert ballast[-1] == 1
    assert spent.seconds >= 0.2
    if spent.peak_bytes is not None:
        assert 60_000_000 < spent.peak_bytes < 300_000_000


def test_a_command_runs_with_the_threads_asked_for():
    measure(["-c", "import os, sys; sys.exit(os.environ['OMP_NUM_THREADS'] != '3')"], 3)


def test_a_command_that_takes_too_long_is_stopped():
    with pytest.raises(TookTooLong, match=r"takes longer than 0\.2 s"):
        measure(["-c", "import time; time.sleep(60)"], 1, limit_seconds=0.2)


def test_a_command_that_fails_says_why_in_one_line():
    with pytest.raises(CommandFailed, match=r"^no such thing$"):
        measure(["-c", "import sys; print('before', file=sys.stderr); sys.exit('no such thing')"], 1)
    with pytest.raises(CommandFailed, match="ended with code 3"):
        measure(["-c", "raise SystemExit(3)"], 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process to a limit of memory")
def test_a_command_that_needs_more_memory_than_is_free_ends_alone(monkeypatch):
    monkeypatch.setattr(processes, "_free_bytes", lambda: 200_000_000)
    with pytest.raises(CommandFailed, match="needs more memory than is free"):
        measure(["-c", "bytearray(1_000_000_000)"], 1)
