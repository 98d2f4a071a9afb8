"""What is measured on: a folder of pictures, pictures with class labels, pictures with captions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from psic_cli.errors import InputError
from psic_cli.picture import Pixels
from psic_cli.shell.opening import DEFAULT_MAX_PIXELS, picture_suffixes
from psic_cli.shell.pictures import read_picture
from psic_cli.shell.streams import read_file
from psic_cli.shell.terminal import name_of, with_name

LABEL_COLUMNS = ("image", "class_index")


@dataclass(frozen=True)
class Labelled:
    """A picture and the number of its class."""

    path: Path
    class_index: int


@dataclass(frozen=True)
class Captioned:
    """A picture and what it shows, in the words of one or more people."""

    path: Path
    captions: tuple[str, ...]


def read_rgb(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Pixels:
    """The pixels of a picture file [H, W, 3] uint8, upright, transparency left out. InputError names the file."""
    data = read_file(path)
    try:
        return read_picture(data, max_pixels=max_pixels, strip=True).rgb
    except InputError as error:
        raise with_name(name_of(path), error) from error


def find_pictures(folder: Path) -> list[Path]:
    """All pictures in a folder and below, sorted, hidden ones left out; the file itself if it is one.

    InputError if there are none.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise InputError(f"there is no folder {name_of(folder)}")
    suffixes = picture_suffixes()
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    paths = sorted(path for path in found if not any(p.startswith(".") for p in path.relative_to(folder).parts))
    if not paths:
        raise InputError(f"there are no pictures in {name_of(folder)}")
    return paths


def read_labels(path: Path) -> list[Labelled]:
    """The rows of a CSV file with the columns image (relative to the file) and class_index.

    InputError for missing columns, numbers that are none, no rows, and pictures that do not exist.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)))
    if not set(LABEL_COLUMNS) <= set(reader.fieldnames or ()):
        raise InputError(f"{name_of(path)} needs the columns {' and '.join(LABEL_COLUMNS)}")
    labels = []
    for row in reader:
        try:
            labels.append(Labelled(path.parent / row["image"], int(row["class_index"])))
        except (TypeError, ValueError):
            raise InputError(
                f"{name_of(path)} line {reader.line_num}: class_index is {row['class_index']!r}, not a whole number"
            ) from None
        if labels[-1].class_index < 0:
            raise InputError(f"{name_of(path)} line {reader.line_num}: class_index {row['class_index']} is below 0")
    if not labels:
        raise InputError(f"{name_of(path)} has no rows")
    _check_present(path, [label.path for label in labels])
    return labels


def read_class_names(labels: Path) -> list[str] | None:
    """The lines of classes.txt beside a file of labels, one class each; None if there is no such file."""
    path = labels.parent / "classes.txt"
    return [line.strip() for line in read_text(path).splitlines()] if path.is_file() else None


def read_lines(path: Path, least: int = 1) -> list[str]:
    """The lines of a text file, each once, without the empty ones. InputError if there are fewer than `least`."""
    lines = list(dict.fromkeys(line.strip() for line in read_text(path).splitlines() if line.strip()))
    if len(lines) < least:
        raise InputError(f"{name_of(path)} has {len(lines)} lines with text, it needs {least} or more")
    return lines


def read_captions(path: Path, split: str) -> list[Captioned]:
    """One split of a JSON-lines file of {"split", "image" (relative to the file), "captions"}.

    InputError for lines of another form, an unknown or empty split, and pictures that do not exist.
    """
    rows, splits = [], set()
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            captions = tuple(str(caption) for caption in row["captions"])
            name, part = str(row["image"]), str(row.get("split", ""))
            if not captions:
                raise ValueError("no captions")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            form = '{"split": ..., "image": ..., "captions": [...]}'
            raise InputError(f"{name_of(path)} line {number}: not of the form {form}") from error
        splits.add(part)
        if part == split:
            rows.append(Captioned(path.parent / name, captions))
    if not rows:
        known = ", ".join(sorted(splits)) or "none"
        raise InputError(f"{name_of(path)} has no split {split!r}", f"its splits: {known}")
    _check_present(path, [row.path for row in rows])
    return rows


def read_text(path: Path) -> str:
    """A file in UTF-8. InputError for one that cannot be read, or that is no text."""
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name_of(path)} is not text in UTF-8") from error


def _check_present(source: Path, paths: Iterable[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{name_of(source)} names {len(missing)} pictures that do not exist, the first is {name_of(missing[0])}"
        )
