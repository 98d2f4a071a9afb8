"""How torch runs in a process that codes pictures: its threads, its memory, and what it finds in the environment.

The process may be somebody else's, who has imported psic: what it has chosen stays, and its environment is afterwards
what it was. No torch is imported before it is asked for. Start with `load_torch`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any

# Threads that wait for each other spin for milliseconds, in every layer: on a busy machine they take the processor from
# the very thread that they wait for. Asleep they cost nothing. OpenMP of GNU, LLVM and Intel obeys the first variable;
# whoever has set one of the others has chosen, too.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch asks for pages of 2 MiB
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST_INT = 2**31 - 1
LARGEST_KEPT = 32 * 2**20  # bytes: the most that glibc takes for the second
WORTH_GIVING_BACK = 2**24  # values of a picture: 5.6 megapixels in colour

_computed_in: int | None = None  # number of the process that torch's threads were started in


def set_environment() -> None:
    """Let torch, once it is loaded, here or in a child, wait asleep and ask for large pages, unless the user has said
    something else. For a process of our own.
    """
    os.environ.update(_missing())


def _missing() -> dict[str, str]:
    """What torch should find in the environment, and nobody has set."""
    wanted = {} if any(name in os.environ for name in WAITING) else {"OMP_WAIT_POLICY": "PASSIVE"}
    return wanted | ({} if LARGE_PAGES in os.environ else {LARGE_PAGES: "1"})


def load_torch() -> None:
    """Import torch as `set_environment` wants it, and leave the environment as it was. A torch that is there already
    was loaded as the host of this process likes it.
    """
    if "torch" in sys.modules:
        return
    missing = _missing()
    os.environ.update(missing)
    try:
        import torch

        torch.get_num_threads()  # some look into the environment only when they are first needed
        torch.empty(1)
    finally:
        for name in missing:
            os.environ.pop(name, None)


def use_threads(count: int) -> None:
    """Let torch compute with so many threads, in this process, whether it is loaded yet or not, and in its children."""
    # MKL would take no more than there are cores; torch.set_num_threads tells it the same
    os.environ.update(OMP_NUM_THREADS=str(count), MKL_NUM_THREADS=str(count), MKL_DYNAMIC="FALSE")
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)


def forget_threads_of_parent() -> None:
    """To be called before torch computes. A child of fork has the memory of its parent, but not its threads, and would
    wait for them for ever: if they have been used, it computes with its only one.
    """
    global _computed_in
    if _computed_in not in (None, os.getpid()):
        import torch

        torch.set_num_threads(1)
    _computed_in = os.getpid()


def keep_freed_memory() -> None:
    """Let the process keep what it frees, up to its peak. Does nothing where the C library is not glibc.

    Layers write tens of megabytes, and free them soon after. glibc returns freed memory to the system at once, which
    then hands it out again page by page, 4 KiB each: a fifth of the time of the transforms at 2 MP went there.
    """
    with _glibc() as library:
        library.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)


def give_freed_memory_back(values: int) -> None:
    """The end of what `keep_freed_memory` began, until more is freed: for the moments after which less is needed, as
    when a large picture has been read. Does nothing where the C library is not glibc.

    values: of the picture. One of few keeps its memory: to ask for that again, page by page, takes as long as the
    transforms.
    """
    if values >= WORTH_GIVING_BACK:
        with _glibc() as library:
            library.malloc_trim(0)


@contextlib.contextmanager
def _glibc() -> Iterator[Any]:
    """The C library, to call what only glibc has; what is inside ends where there is no such function."""
    with contextlib.suppress(OSError, AttributeError):
        yield ctypes.CDLL(None) if sys.platform.startswith("linux") else None
