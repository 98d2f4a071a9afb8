"""A report as a folder: the page for people, and the figures that it was made from."""

from __future__ import annotations

from pathlib import Path

from psic_cli.shell import streams

PAGE = "index.html"
RESULTS = "results.json"


def is_report_folder(output: Path) -> bool:
    """Whether an output means a folder: one that exists, or a new name without a suffix (`report`, not `a.json`)."""
    return output.is_dir() or (not output.exists() and not output.suffix)


def check_report(folder: Path, *, overwrite: bool) -> None:
    """Refuse early what `write_report` would refuse late: OutputError for existing files and for missing folders."""
    if not folder.is_dir():
        streams.check_destination(folder, overwrite=overwrite)
        return
    for name in (PAGE, RESULTS):
        streams.check_destination(folder / name, overwrite=overwrite)


def write_report(folder: Path, page: bytes, results: bytes, *, overwrite: bool) -> None:
    """Both files, each whole or not at all, the figures first: hours went into them, and a page can be made again.

    Other files in the folder stay as they are. OutputError says which file could not be written, and why not.
    """
    check_report(folder, overwrite=overwrite)
    streams.make_folder(folder)
    streams.write_file(folder / RESULTS, results, overwrite=overwrite)
    streams.write_file(folder / PAGE, page, overwrite=overwrite)
