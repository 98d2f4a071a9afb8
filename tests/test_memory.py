"""Freed memory stays with a process that codes pictures."""

import os
import platform
import subprocess
import sys

import pytest

from psic_cli.memory import keep_freed_memory

FAULTS = """
import resource, sys
import numpy as np
from psic_cli.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(21):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers = [np.empty(12 * 2**20, np.uint8) for _ in range(4)]
    for layer in layers:
        layer.fill(turn)
    del layer, layers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(case: str) -> int:
    """In twenty turns of taking, filling and freeing 48 MiB, after a first one."""
    environment = {"PATH": os.environ["PATH"], "NUMPY_MADVISE_HUGEPAGE": "0"}
    done = subprocess.run([sys.executable, "-c", FAULTS, case], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_is_asked_for_once():
    assert page_faults("kept") < 0.1 * page_faults("as it is")


def test_what_the_user_has_said_of_large_pages_stays(monkeypatch):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    keep_freed_memory()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"
