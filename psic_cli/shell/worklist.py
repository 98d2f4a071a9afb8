"""From the words on the command line to a list of tasks: which input, which output. Nothing is read or written here.

Everything that can be refused before work starts is refused here: clashes of names, outputs that are inputs, a picture
sent to a terminal. In a batch what is wrong with one picture is noted in its task. Start with `plan`.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from psic_cli.errors import InputError, OutputError, PsicError, UsageError
from psic_cli.shell.streams import STANDARD_STREAM, Streams, reason
from psic_cli.shell.terminal import name_of, terminal

# Spelled as files on most systems, meant as streams: a temporary file renamed over them would be absurd.
_STREAM_NAMES = {"/dev/stdin": STANDARD_STREAM, "/dev/stdout": STANDARD_STREAM}


@dataclass(frozen=True)
class Task:
    """One input and its output; None stands for standard input or output. makes_folder: the output's folder may be
    missing. problem: why it cannot be done, whatever the input holds.
    """

    source: Path | None
    destination: Path | None
    makes_folder: bool = False
    problem: PsicError | None = None

    @property
    def source_name(self) -> str:
        """What messages call the input."""
        return "standard input" if self.source is None else name_of(self.source)

    @property
    def destination_name(self) -> str:
        """What messages call the output."""
        return "standard output" if self.destination is None else name_of(self.destination)


@dataclass(frozen=True)
class Worklist:
    """Tasks in the order in which they are reported. A batch reports failures and goes on; a single task just fails."""

    tasks: tuple[Task, ...]
    is_batch: bool


@dataclass(frozen=True)
class Kind:
    """What a command takes and gives: the words, the suffixes picked from folders, the suffix of derived names.

    file_suffixes: of names in -o that mean one file, whatever the number of inputs. missing: suffixes that would be
    picked if something were installed; missing_hint says what.
    """

    verb: str
    taken: str
    given: str
    suffixes: frozenset[str]
    new_suffix: str
    file_suffixes: frozenset[str]
    missing: frozenset[str] = frozenset()
    missing_hint: str = ""
    keeps_suffix: bool = False  # a.png becomes a.png.json, not a.json

    def derived(self, name: str) -> str:
        """The output's name, of an input's."""
        return (name if self.keeps_suffix else PurePath(name).stem) + self.new_suffix


def stream_name(operand: str) -> str:
    """The operand, with the system's names for the standard streams replaced by "-"."""
    return _STREAM_NAMES.get(operand, operand)


def check_one_stream(operands: list[str], condition: str | None) -> None:
    """Standard input can give the picture or the key, not both: `UsageError`."""
    if condition == STANDARD_STREAM and (not operands or STANDARD_STREAM in map(stream_name, operands)):
        raise UsageError("picture and key cannot both come from standard input", "name a file for one of them")


def plan(
    operands: list[str],
    output: str | None,
    kind: Kind,
    streams: Streams,
    *,
    recursive: bool = False,
    other_files: Iterable[str | None] = (),
) -> Worklist:
    """Tasks for the operands (files, folders, or "-") and `-o`.

    No operand means standard input if that is not a terminal. A name is derived from the input's, beside it or below
    the folder `output`, where the tree below each given folder is kept. other_files: further files the command reads (a
    key), which no output may replace. Of several inputs with one output the first is done, the others have a problem.
    Raises `UsageError` for contradictions, `InputError` for folders without input, `OutputError` for a terminal and,
    where there is only one task, for its problem.
    """
    operands = [stream_name(operand) for operand in operands]
    output = None if output is None else stream_name(output)
    if not operands:
        if streams.input_is_terminal:
            example = "photo.png" if kind.new_suffix == ".psic" else "photo.psic"
            raise UsageError(f"nothing to {kind.verb}", f"psic {kind.verb} {example}, or psic {kind.verb} --help")
        operands = [STANDARD_STREAM]
    if "" in operands or output == "":
        raise UsageError("an empty name is no file", "is a shell variable unset?")
    if STANDARD_STREAM in operands:
        return Worklist((_stream_task(operands, output, kind, streams),), is_batch=False)

    found = _find(operands, kind, recursive)
    is_batch = len(operands) > 1 or Path(operands[0]).is_dir()
    tasks = list(_file_tasks(found, output, kind, is_batch))
    _note_inputs(tasks, [name for name in other_files if name not in (None, STANDARD_STREAM)], kind)
    _note_clashes(tasks, kind)
    if not is_batch and tasks[0].problem is not None:
        raise tasks[0].problem
    return Worklist(tuple(tasks), is_batch)


def _stream_task(operands: list[str], output: str | None, kind: Kind, streams: Streams) -> Task:
    if len(operands) > 1:
        raise UsageError("standard input (-) cannot be mixed with other inputs", f"run psic {kind.verb} once for it")
    if output is None:
        if streams.output_is_terminal:
            raise OutputError(
                f"{kind.given} would be written to the terminal", "name a file with -o, or force it with -o -"
            )
        return Task(None, None)
    if output == STANDARD_STREAM:
        return Task(None, None)
    if _means_folder(output):
        raise UsageError("standard input has no name that a file in a folder could get", "name a file with -o")
    return Task(None, Path(output))


@dataclass(frozen=True)
class _Found:
    path: Path
    below: Path  # where it goes below an output folder


def _find(operands: list[str], kind: Kind, recursive: bool) -> list[_Found]:
    found: list[_Found] = []
    left_out: Counter[str] = Counter()
    try:
        for operand in operands:
            path = Path(operand)
            if path.is_dir():
                if not recursive:
                    raise UsageError(f"{name_of(path)} is a folder", f"add -r to {kind.verb} the {kind.taken} in it")
                inside = [_Found(file, file.relative_to(path)) for file in _walk(path, kind, left_out)]
                if not inside:
                    looked_for = f"looked for {', '.join(sorted(kind.suffixes))}"
                    raise InputError(f"there are no {kind.taken} in {name_of(path)}", looked_for)
                found += inside
            else:
                found.append(_Found(path, Path(path.name)))
    finally:
        say_left_out(left_out, kind)
    unique = {os.path.abspath(item.path): item for item in reversed(found)}  # a file given twice is one picture
    return [item for item in found if unique.pop(os.path.abspath(item.path), None) is not None]


def _walk(root: Path, kind: Kind, left_out: Counter[str]) -> list[Path]:
    """The files to take, sorted. left_out: counts the others by suffix, those aside that the command itself writes."""
    files: list[Path] = []

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot read folder {name_of(error.filename)}: {reason(error)}") from error

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            suffix = path.suffix.lower()
            if name.startswith("."):
                continue
            if special := _special(path):
                terminal.detail(f"{name_of(path)} is left out: it is {special}")
            elif suffix in kind.suffixes:
                files.append(path)
            else:
                terminal.detail(f"{name_of(path)} is left out: not one of the {kind.taken}")
                if suffix != kind.new_suffix:
                    left_out[suffix] += 1
    return sorted(files)


def _special(path: Path) -> str | None:
    """What has a name in a folder and is no file; reading it could wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None  # whoever reads it says why not
    if stat.S_ISREG(mode):
        return None
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def say_left_out(left_out: Counter[str], kind: Kind) -> None:
    """What was in folders and was not taken, counted by suffix, in one line."""
    if not left_out:
        return
    total = left_out.total()
    most = [f"{count} {name_of(suffix) if suffix else 'without a suffix'}" for suffix, count in left_out.most_common(6)]
    listed = ", ".join(most) + (", ..." if len(left_out) > len(most) else "")
    terminal.say(f"psic: {total} {'file' if total == 1 else 'files'} left out, not {kind.taken}: {listed}")
    if left_out.keys() & kind.missing:
        terminal.say(f"psic: hint: {kind.missing_hint}")


def _file_tasks(found: list[_Found], output: str | None, kind: Kind, is_batch: bool) -> Iterable[Task]:
    if output == STANDARD_STREAM:
        if is_batch:
            raise UsageError("several inputs cannot go to standard output", "name a folder with -o")
        yield Task(found[0].path, None)
        return
    if output is not None and is_batch and Path(output).exists() and not Path(output).is_dir():
        raise UsageError(f"{name_of(output)} is not a folder", "several outputs need a folder: name one with -o")
    names_a_file = (
        output is not None and not _means_folder(output) and Path(output).suffix.lower() in kind.file_suffixes
    )
    if is_batch and names_a_file:
        hint = "name a folder with -o; a slash at its end says that it is one"
        raise UsageError(f"several outputs need a folder, and {name_of(output or '')} is the name of a file", hint)
    for item in found:
        derived = item.below.with_name(kind.derived(item.below.name))
        if output is None:
            yield Task(item.path, item.path.parent / derived.name)
        elif is_batch or _means_folder(output):
            yield Task(item.path, Path(output, derived), makes_folder=True)
        else:
            yield Task(item.path, Path(output))


def _means_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _note_inputs(tasks: list[Task], other_files: list[str | None], kind: Kind) -> None:
    """An output that is also an input would be replaced while, or before, it is read: never, not even with --force."""
    inputs = {known for task in tasks if (known := identity(task.source))}
    inputs |= {known for name in other_files if name is not None and (known := identity(Path(name)))}
    for index, task in enumerate(tasks):
        if task.destination is not None and identity(task.destination) in inputs:
            hint = "name another output with -o"
            if task.source is not None and task.source.suffix.lower() not in kind.suffixes:
                hint = f"{kind.verb} takes {kind.taken}; if it is one, {hint}"
            tasks[index] = replace(task, problem=OutputError(f"{task.destination_name} is also an input", hint))


def identity(path: Path | None) -> tuple[int, int] | None:
    """What makes two names one file, through links of both kinds; None if there is no such file."""
    try:
        status = os.stat(path) if path is not None else None
    except (OSError, ValueError):
        return None
    return None if status is None else (status.st_dev, status.st_ino)


def _note_clashes(tasks: list[Task], kind: Kind) -> None:
    """Of several inputs with one output the first has it, in the order of the list: the same one on every run."""
    owners: dict[str, Task] = {}
    for index, task in enumerate(tasks):
        if task.destination is None or task.problem is not None:
            continue
        owner = owners.setdefault(os.path.normcase(os.path.realpath(task.destination)), task)
        if owner is not task:
            message = f"{task.source_name}: {task.destination_name} is the output of {owner.source_name}"
            tasks[index] = replace(task, problem=OutputError(message, f"rename one, or {kind.verb} it with another -o"))
