"""Results as tables for people: means, each with its interval below."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from psic_cli.evaluation.agreement import Agreement
from psic_cli.evaluation.bd_rate import BdRate
from psic_cli.evaluation.classification import MachineGain, ZeroShot
from psic_cli.evaluation.metrics import Interval
from psic_cli.evaluation.rate_distortion import Summary
from psic_cli.evaluation.report import Results
from psic_cli.evaluation.retrieval import Retrieval
from psic_cli.evaluation.robustness import AttackOutcome
from psic_cli.evaluation.shielding import VersionQuality

NOTHING = "-"

_WORDS = ("version", "against", "model", "attack")  # columns of words stand on the left
_TASKS = {
    "classification": "Top-1 classification",
    "image_to_text": "R@1 from image to text",
    "text_to_image": "R@1 from text to image",
}

Row = TypeVar("Row", ZeroShot, Retrieval, Agreement)


def to_text(results: Results, width: int = 120) -> str:
    """Tables of the means, and notes on what is missing. width: in characters."""
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    for table in _tables(results):
        console.print(table)
    if results.rate_distortion:
        for note in results.rate_distortion.notes:
            console.print(Text(note))
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _tables(results: Results) -> list[Table]:
    tables = []
    if results.rate_distortion:
        tables.append(_rates(results.rate_distortion.summaries))
        if results.rate_distortion.bd_rates:
            tables.append(_bd_rates(results.rate_distortion.bd_rates))
    if results.classification:
        tables.append(_versions("Pictures of the classification", results.classification.versions))
        for kind, found in (("Zero-shot", results.classification.zero_shot), ("Unseen", results.classification.unseen)):
            for model, rows in _by_model(found).items():
                tables.append(_accuracy(f"{kind} classification by {model}, {rows[0].pictures} pictures", rows))
        if kinds := results.classification.kinds:
            for model, rows in _by_model(kinds.zero_shot).items():
                title = (
                    f"{len(kinds.names)} kinds told by {model}, chance {kinds.chance:.0%}, {rows[0].pictures} pictures"
                )
                tables.append(_accuracy(title, rows))
        tables.append(_machine(results.classification.machine))
    if results.retrieval:
        tables.append(_versions("Pictures of the retrieval", results.retrieval.versions))
        for model, asked in _by_model(results.retrieval.retrieval).items():
            title = f"Retrieval by {model}, {asked[0].pictures} pictures, {asked[0].captions} captions"
            tables.append(_retrieval(title, asked))
    if results.attacks:
        tables += _attacks(results.attacks.outcomes)
    if results.agreement:
        tables += [_agreement(model, rows) for model, rows in _by_model(results.agreement).items()]
    return tables


def _rates(rows: Sequence[Summary]) -> Table:
    table = _table(
        f"Rate and quality, {rows[0].pictures} pictures",
        *("quality", "bpp", "PSNR full", "PSNR protected", "MS-SSIM full", "MS-SSIM protected", "encode s", "decode s"),
    )
    for row in rows:
        table.add_row(
            str(row.quality),
            _cell(row.bpp, 3),
            *(_cell(row.psnr[version], 2) for version in ("full", "protected")),
            *(_cell(row.ms_ssim[version], 4) for version in ("full", "protected")),
            f"{row.encode_seconds:.3f}",
            f"{row.decode_seconds:.3f}",
        )
    return table


def _bd_rates(rows: Sequence[BdRate]) -> Table:
    table = _table("BD-rate of the full version", "against", "BD-rate %", "over PSNR", "share of our range")
    for row in rows:
        table.add_row(row.anchor, _cell(row.percent, 1), f"{row.low_db:.1f}..{row.high_db:.1f} dB", f"{row.share:.0%}")
    return table


def _versions(title: str, rows: Sequence[VersionQuality]) -> Table:
    table = _table(title, "version", "quality", "bpp", "PSNR")
    for row in rows:
        table.add_row(row.version, str(row.quality), _cell(row.bpp, 3), _cell(row.psnr, 2))
    return table


def _accuracy(title: str, rows: Sequence[ZeroShot]) -> Table:
    table = _table(
        title, "version", "quality", "top-1", "top-5", "share of original", "agrees with original", "attack success"
    )
    for row in rows:
        figures = (row.top1, row.top5, row.kept, row.agreement, row.attack_success)
        table.add_row(row.version, _quality(row.quality), *(_cell(figure, 3) for figure in figures))
    return table


def _machine(rows: Sequence[MachineGain]) -> Table:
    table = _table("Full against machine version, top-1", "model", "quality", "bpp", "full", "machine", "gain")
    for row in rows:
        figures = (_cell(figure, 3) for figure in (row.bpp, row.full, row.machine, row.gain))
        table.add_row(row.model, str(row.quality), *figures)
    return table


def _attacks(rows: Sequence[AttackOutcome]) -> list[Table]:
    tables = {}
    for row in rows:
        kind = (row.task, row.model, row.quality)
        if kind not in tables:
            title = f"{_TASKS[row.task]} by {row.model} after attacks, quality {row.quality}, {row.pictures} pictures"
            tables[kind] = _table(title, "attack", "original", "protected", "drop", "share of drop left")
        figures = (_cell(figure, 3) for figure in (row.original, row.protected, row.drop, row.remaining))
        tables[kind].add_row(row.attack, *figures)
    return list(tables.values())


def _agreement(model: str, rows: Sequence[Agreement]) -> Table:
    table = _table(
        f"First labels of {model} that stay those of the original",
        *("side", "pictures", "version", "quality", "bpp", "agrees with original"),
    )
    for row in rows:
        side = "full size" if row.side is None else str(row.side)
        figures = (_cell(row.bpp, 3), _cell(row.agreement, 3))
        table.add_row(side, str(row.pictures), row.version, str(row.quality), *figures)
    return table


def _retrieval(title: str, rows: Sequence[Retrieval]) -> Table:
    depths = list(rows[0].image_to_text)
    table = _table(
        title,
        *("version", "quality"),
        *(f"text {depth.upper()}" for depth in depths),
        *(f"image {depth.upper()}" for depth in depths),
        *("attack on text", "attack on image"),
    )
    for row in rows:
        figures = [*row.image_to_text.values(), *row.text_to_image.values()]
        attacks = (row.attack_success_image_to_text, row.attack_success_text_to_image)
        table.add_row(row.version, _quality(row.quality), *(_cell(figure, 3) for figure in (*figures, *attacks)))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right")
    return table


def _cell(figure: Interval | None, digits: int) -> str:
    """The value, and its interval below."""
    if figure is None:
        return NOTHING
    return f"{figure.value:.{digits}f}\n{figure.low:.{digits}f}..{figure.high:.{digits}f}"


def _quality(quality: int | None) -> str:
    return NOTHING if quality is None else str(quality)


def _by_model(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by model, both in the order in which they come."""
    models: dict[str, list[Row]] = {}
    for row in rows:
        models.setdefault(row.model, []).append(row)
    return models
