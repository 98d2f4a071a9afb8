"""What file systems differ in: names that are taken at once, and bytes that survive a power cut."""

import contextlib
import errno
import os
from pathlib import Path


def rename_to_free_name(temporary: str, path: Path) -> None:
    """Give a finished file its name unless the name is taken (`FileExistsError`), with no moment in between."""
    if os.name == "nt":
        os.rename(temporary, path)  # refuses an existing name there
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL):
            raise
        # No hard links here (FAT, some network folders): take the name with an empty file, then put ours in its place.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise


def sync(descriptor: int) -> None:
    """Make what was written survive a power cut, where the file system can. OSError if it is full."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # not every file system can
            raise


def sync_folder(folder: Path) -> None:
    """Make a new name in it survive a power cut; not every system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
