"""Results as JSON for machines and as tables for people."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from psic_cli.evaluation.agreement import Agreement
from psic_cli.evaluation.bd_rate import BdRate
from psic_cli.evaluation.classification import ZeroShot
from psic_cli.evaluation.metrics import Interval
from psic_cli.evaluation.rate_distortion import Summary
from psic_cli.evaluation.retrieval import Retrieval
from psic_cli.evaluation.robustness import AttackMatrix
from psic_cli.evaluation.runs import Classification, ImageTextRetrieval, RateDistortion, VersionQuality

NOTHING = "-"


@dataclass
class Results:
    """Everything one `psic evaluate` measured; a part that was not asked for is None.

    about: versions, models and options that it was measured with. failures: a line for each picture that was left out.
    """

    about: dict[str, object]
    rate_distortion: RateDistortion | None = None
    classification: Classification | None = None
    retrieval: ImageTextRetrieval | None = None
    attacks: AttackMatrix | None = None
    agreement: list[Agreement] | None = None
    failures: list[str] = field(default_factory=list)


def to_json(results: Results) -> str:
    """All figures, those of single pictures too. Intervals are {"value", "low", "high"}; what is unknown is null.

    about: command (a line for a shell), psic, python, platform, packages {name: version}, device, precision, model,
        weights_hash, weights_sha256, qualities, vlps and unseen: [{name, spec, sha256}].
    rate_distortion: summaries, pictures, peers, bd_rates, notes.
    classification: versions (bpp and PSNR), zero_shot (a row for each vision-language model, version and quality),
        unseen (the same for plain classifiers), machine (full against machine version: model, quality, bpp, full,
        machine, gain).
    retrieval: versions, retrieval.
    attacks: attacks {name: what it does}, outcomes [{task, model, quality, attack, pictures, original, protected, drop,
        remaining}], task being classification, image_to_text or text_to_image.
    agreement: [{model, side, version, quality, pictures, agreement}], side null for full size.
    failures: lines of text.
    """
    return json.dumps(asdict(results), indent=1, allow_nan=False) + "\n"


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
        for model in dict.fromkeys(row.model for row in results.classification.zero_shot):
            rows = [row for row in results.classification.zero_shot if row.model == model]
            tables.append(_zero_shot(f"Zero-shot classification by {model}, {rows[0].pictures} pictures", rows))
    if results.retrieval:
        tables.append(_versions("Pictures of the retrieval", results.retrieval.versions))
        for model in dict.fromkeys(row.model for row in results.retrieval.retrieval):
            found = [row for row in results.retrieval.retrieval if row.model == model]
            title = f"Retrieval by {model}, {found[0].pictures} pictures, {found[0].captions} captions"
            tables.append(_retrieval(title, found))
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


def _zero_shot(title: str, rows: Sequence[ZeroShot]) -> Table:
    table = _table(
        title, "version", "quality", "top-1", "top-5", "share of original", "agrees with original", "attack success"
    )
    for row in rows:
        figures = (row.top1, row.top5, row.kept, row.agreement, row.attack_success)
        table.add_row(row.version, _quality(row.quality), *(_cell(figure, 3) for figure in figures))
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
        table.add_column(column, justify="left" if column in ("version", "against") else "right")
    return table


def _cell(figure: Interval | None, digits: int) -> str:
    """The value, and its interval below."""
    if figure is None:
        return NOTHING
    return f"{figure.value:.{digits}f}\n{figure.low:.{digits}f}..{figure.high:.{digits}f}"


def _quality(quality: int | None) -> str:
    return NOTHING if quality is None else str(quality)
