"""An audit in words, as tables for people and as JSON for programs. Start with `sentence`, `to_text` and `to_json`."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from psic_cli.evaluation.audit import TOP, Audit, Audited, Choice, Count, Reading, Verdict, count, first_name

NOTHING = "-"
THRESHOLDS = (
    "Still read: the version's first label is the reference's. Partly misread: another label is first, but the "
    "reference's is still among the first five (of fewer than ten labels: among the first half). Misread: it is not."
)
WAVERING = "A model wavers if its first label is less than twice as probable as its second."


def role(trained_against: bool | None) -> str:
    """What a reader must know of a model before trusting what it says about the shield."""
    if trained_against is None:
        return "no record of whether the shield was trained against it"
    return "the shield was trained against it" if trained_against else "never used in training"


def sentence(audit: Audit) -> str:
    """The verdict on all versions of one picture in one line."""
    judged = [reading for reading in audit.readings if reading.verdict is not None]
    if not judged:
        return unjudged(audit)
    line = "; ".join(f"{reading.version} {outcome(reading)}" for reading in judged)
    return line + (f" (it wavers over the {audit.reference})" if audit.wavers else "")


def outcome(reading: Reading) -> str:
    """What became of the reference's label in one version that has a verdict."""
    before, verdict = reading.reference_label, reading.verdict
    assert before is not None
    assert verdict is not None
    if verdict is Verdict.STILL_READ:
        return f"still read as {_named(reading.top[0])}"
    fell = f"{label_text(before)} fell to rank {before.rank}"
    return f"{verdict.value} as {_named(reading.top[0])}, {fell}"


def unjudged(audit: Audit) -> str:
    """What is left to say where there is nothing to compare with."""
    reading = audit.readings[0]
    return f"{reading.version} read as {_named(reading.top[0])}; nothing to compare it with"


def count_sentence(row: Count) -> str:
    """ "protected: misread in 2 of 3, partly in 1, still read in 0"."""
    numbers = [row.verdicts[verdict.value] for verdict in (Verdict.MISREAD, Verdict.PARTLY_MISREAD, Verdict.STILL_READ)]
    line = f"{row.version}: misread in {numbers[0]} of {row.files}, partly in {numbers[1]}, still read in {numbers[2]}"
    return line + (f"; it wavers over {row.wavered} of the references" if row.wavered else "")


def label_text(choice: Choice) -> str:
    """A label as it is shown: of an ImageNet class the first synonym."""
    return first_name(choice.label)


def percent(share: float) -> str:
    """A probability: with a decimal below 10 %."""
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def to_json(about: Mapping[str, object], audited: Sequence[Audited], failures: Sequence[str]) -> str:
    """Everything, with names spelled out. What is unknown is null."""
    data = {
        "about": about,
        "files": [asdict(file) for file in audited],
        "summary": [asdict(row) for row in count(audited)],
        "failures": list(failures),
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def to_text(audited: Sequence[Audited], width: int = 120) -> str:
    """Tables of the readings with the verdicts below them, and a summary of several files. width: in characters."""
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    for file in audited:
        console.print(Text(f"{file.file}  {facts(file)}"))
        for audit in file.audits:
            columns = f"{audit.labels} labels: probability, similarity, label"
            console.print(Text(f"\n{audit.model}, {role(audit.trained_against)}, {columns}"), end="")
            console.print(_table(audit, file.psnr), end="")
            if audit.readings[0].captions:
                console.print(_captions(audit), end="")
            console.print(Text(f"{audit.model}: {sentence(audit)}"))
        console.print()
    if len(audited) > 1:
        console.print(Text(f"{len(audited)} files"))
        for row in count(audited):
            console.print(Text(f"  {row.model}  {count_sentence(row)}"))
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())


def facts(file: Audited) -> str:
    """Size, rate and codec of a file in one line."""
    size, rate = f"{file.width} x {file.height}", f"{file.bpp:.2f} bpp"
    if file.codec is None or file.weights_hash is None:
        compared = "as large as the original" if file.psnr else "not as large as the original, so without PSNR"
        return f"{size}, {rate}, {compared}"
    return f"{size}, quality {file.quality}, {rate}, {file.codec} {file.weights_hash[:8]}"


def _named(choice: Choice) -> str:
    return f"{label_text(choice)} ({percent(choice.probability)})"


def _table(audit: Audit, psnr: Mapping[str, float]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", *(reading.version for reading in audit.readings)):
        table.add_column(heading)
    columns = [audit.choices(reading.version) for reading in audit.readings]
    for place in range(max(map(len, columns))):
        last = place == max(map(len, columns)) - 1
        cells = (_cell(choices[place], place) if place < len(choices) else Text() for choices in columns)
        table.add_row(str(place + 1) if place < TOP else "", *cells, end_section=last)
    if audit.reference is not None:
        table.add_row("likeness", *(f"{reading.likeness:.3f}" for reading in audit.readings))
    if psnr:
        losses = (psnr.get(reading.version) for reading in audit.readings)
        table.add_row("PSNR", *(NOTHING if loss is None else f"{loss:.1f} dB" for loss in losses))
    return table


def _captions(audit: Audit) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("similarity to", *(reading.version for reading in audit.readings)):
        table.add_column(heading)
    for number, match in enumerate(audit.readings[0].captions):
        matches = (reading.captions[number] for reading in audit.readings)
        table.add_row(Text(match.caption), *(matched(m.similarity, m.drop) for m in matches))
    return table


def _cell(choice: Choice, place: int) -> Text:
    beyond = f" (rank {choice.rank})" if choice.rank != place + 1 else ""
    return Text(f"{percent(choice.probability):>6} {choice.similarity:5.2f}  {label_text(choice)}{beyond}")


def matched(similarity: float, drop: float | None) -> str:
    """The similarity to a caption, and what it gained or lost against the reference."""
    return (f"{similarity:.3f}" + (f" ({-drop:+.3f})" if drop else "")).replace("-", "\u2212")
