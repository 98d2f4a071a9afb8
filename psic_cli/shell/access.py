"""Who may read a file that psic writes, and how old it is: as the file that it was made from.

A private photo must not become a public copy of itself. Modes are a POSIX matter; times are everywhere.
"""

import contextlib
import os
import stat
from pathlib import Path

_HAS_MODES = hasattr(os, "fchmod")


def of_file(path: Path | None) -> os.stat_result | None:
    """What is known of a file; None for a device, a pipe, and what does not exist."""
    try:
        found = os.stat(path) if path is not None else None
    except OSError:
        return None
    return found if found is not None and stat.S_ISREG(found.st_mode) else None


def new_mode(source: os.stat_result | None) -> int:
    """Permissions to create a file with, which the kernel lessens by the umask: at most those of its source."""
    return 0o666 & source.st_mode if source is not None and _HAS_MODES else 0o666


def restrict(descriptor: int, source: os.stat_result | None, replaced: os.stat_result | None) -> None:
    """Keep the permissions of a file that is replaced, and open nothing further than its source was."""
    if not _HAS_MODES:
        return
    own = os.fstat(descriptor)
    mode = stat.S_IMODE((replaced or own).st_mode)
    if source is not None:
        mode &= source.st_mode
        if own.st_gid != source.st_gid and not source.st_mode & stat.S_IROTH:
            mode &= ~stat.S_IRWXG  # another group than the one that the source was open to
    if mode != stat.S_IMODE(own.st_mode):
        with contextlib.suppress(OSError):  # not every file system has modes
            os.fchmod(descriptor, mode)


def keep_time(path: str, source: os.stat_result | None) -> None:
    """Give a file the modification time of its source."""
    if source is not None:
        with contextlib.suppress(OSError):
            os.utime(path, ns=(source.st_atime_ns, source.st_mtime_ns))
