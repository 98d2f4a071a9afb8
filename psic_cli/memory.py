"""How a process that codes pictures gets its memory.

Layers write tens of megabytes, and free them soon after. glibc returns freed memory to the system at once, which then
hands it out again page by page, 4 KiB each: a fifth of the time of the transforms at 2 MP went there.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST_INT = 2**31 - 1
LARGEST_KEPT = 32 * 2**20  # bytes: the most that glibc takes for the second


def keep_freed_memory() -> None:
    """Let the process keep what it frees, up to its peak, and let torch ask for pages of 2 MiB.

    torch listens until it makes its first tensor. Does nothing where the C library is not glibc.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
    mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
