"""The list of pictures, found folder by folder: rows for Ray, of which no more is kept than one folder's names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyarrow.fs import FileType

from psic_cli.errors import InputError, OutputError
from psic_cli.ray.places import Place
from psic_cli.shell.terminal import name_of, terminal
from psic_cli.shell.worklist import Kind, say_left_out


@dataclass(frozen=True)
class Item:
    """One picture: the place it comes from, its name there, and the name of what is made of it below the target.

    problem: why it cannot be done, whatever it holds.
    """

    index: int
    place: Place
    name: str
    target: Place
    target_name: str
    problem: OutputError | None = None

    @property
    def source(self) -> str:
        """As reports call it."""
        return self.place.shown(self.name)

    @property
    def destination(self) -> str:
        """As reports call it."""
        return self.target.shown(self.target_name)

    @property
    def source_name(self) -> str:
        """As messages call it."""
        return name_of(self.source)

    @property
    def destination_name(self) -> str:
        """As messages call it."""
        return name_of(self.destination)

    @property
    def local_source(self) -> Path | None:
        """The file, if it is one of a local file system."""
        return Path(self.place.path(self.name)) if self.place.is_local else None


def items(sources: Sequence[Place], target: Place, kind: Kind, report: Path | None) -> Iterator[Item]:
    """The pictures in all sources, files and folders with all below them, in order.

    Of several that would get one name the first has it, the others have a problem. Raises InputError for a source that
    is missing or has nothing in it, OutputError if `report` is one of the inputs or outputs.
    """
    left_out: Counter[str] = Counter()
    owners: dict[str, str] = {}  # by name below the target
    reported = None if report is None else os.path.realpath(report)
    count = 0
    try:
        for source in sources:
            found = 0
            for place, names in _folders(source, kind, left_out):
                if len(sources) == 1:
                    owners.clear()  # names of other folders cannot clash with those of this one
                for name in names:
                    below = PurePosixPath(name)
                    item = Item(count, place, name, target, str(below.with_name(kind.derived(below.name))))
                    _check_report(item, reported)
                    yield _settled(item, owners, kind)
                    found, count = found + 1, count + 1
            if not found:
                looked_for = f"looked for {', '.join(sorted(kind.suffixes))}"
                raise InputError(f"there are no {kind.taken} in {name_of(source.given)}", looked_for)
    finally:
        say_left_out(left_out, kind)


def _folders(source: Place, kind: Kind, left_out: Counter[str]) -> Iterator[tuple[Place, list[str]]]:
    """The names to take of each folder, below the place that comes with them; of a source that is one file its own."""
    found = source.kind()
    if found is FileType.NotFound:
        raise InputError(f"cannot read {name_of(source.given)}: there is no such file or folder")
    if found is not FileType.Directory:
        yield source.parent, [PurePosixPath(source.root).name]
        return
    folders = [""]
    while folders:
        folder = folders.pop()
        inner, names = [], []
        for info in source.folder(folder):
            name = f"{folder}/{info.base_name}" if folder else info.base_name
            suffix = PurePosixPath(name).suffix.lower()
            if info.base_name.startswith(".") or not info.base_name:
                continue
            if info.type is FileType.Directory:
                if not (source.is_local and os.path.islink(source.path(name))):  # it may lead round in a circle
                    inner.append(name)
            elif info.type is not FileType.File:
                terminal.detail(f"{name_of(source.shown(name))} is left out: it is no file")
            elif suffix in kind.suffixes:
                names.append(name)
            else:
                terminal.detail(f"{name_of(source.shown(name))} is left out: not one of the {kind.taken}")
                if suffix != kind.new_suffix:
                    left_out[suffix] += 1
        yield source, names
        folders += reversed(inner)


def _settled(item: Item, owners: dict[str, str], kind: Kind) -> Item:
    owner = owners.setdefault(item.target_name, item.source_name)
    problem = None
    if owner != item.source_name:
        message = f"{item.source_name}: {item.destination_name} is the output of {owner}"
        problem = OutputError(message, f"rename one, or {kind.verb} it with another -o")
    elif item.target.file(item.target_name) == item.place.file(item.name):
        problem = OutputError(f"{item.destination_name} is also an input", "name another output with -o")
    if problem is None:
        return item
    return Item(item.index, item.place, item.name, item.target, item.target_name, problem)


def _check_report(item: Item, report: str | None) -> None:
    if report is None:
        return
    for place, name, what in ((item.place, item.name, "an input"), (item.target, item.target_name, "an output")):
        if place.is_local and os.path.realpath(place.path(name)) == report:
            raise OutputError(f"{name_of(report)} is both the report and {what}", "name another report")
