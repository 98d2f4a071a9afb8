"""A benchmark as JSON for machines and as tables for people."""

from __future__ import annotations

import io
import json
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from psic_cli.benchmark.contenders import NETWORKS
from psic_cli.benchmark.results import OneSize, Results, Spread, Timing

NOTHING = "-"
_NOTES = (
    "Times: median, and least..most below it. Ratios: to psic in the same repetition, 2 is twice as slow as psic; by "
    "the clock, and (CPU) of the processor time of all threads, which other programs disturb less.",
    "MB: the peak memory of a fresh process that reads one file and writes another.",
    "psic: files of the default effort, decoded in full, with the key. psic-protected: the same files decoded without "
    "it, as everybody does. psic-effort-N: files of that effort.",
)
_NETWORK_NOTE = (
    "Networks are untrained and code stand-in latents of about psic's size, so their bits per pixel mean nothing; "
    "their time does not depend on weights. psic-release-size: a plain decoder of the PSIC release's published cost."
)


def to_json(results: Results) -> str:
    """All figures; what is unknown is null."""
    return json.dumps(asdict(results), indent=1, allow_nan=False) + "\n"


def to_text(results: Results, width: int = 120) -> str:
    """Tables of the medians, with spreads, and notes on how to read them. width: in characters."""
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    about = results.about
    console.print(
        Text(f"{about['processor']}, {about['cores']} cores; threads: {about['threads']}; {about['picture']}")
    )
    for size in results.sizes:
        console.print(_size(size))
    if results.costs:
        console.print(_costs(results))
    if results.start_up:
        console.print(_start_up(results))
    for skipped in results.skipped:
        console.print(Text(f"left out: {skipped.name} at {skipped.width} x {skipped.height}: {skipped.reason}"))
    for note in (*_NOTES, *([_NETWORK_NOTE] if any(name in NETWORKS for name in results.costs) else [])):
        console.print(Text(note))
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _size(size: OneSize) -> Table:
    table = _table(
        f"{size.width} x {size.height} pixels, {size.width * size.height / 1e6:.2g} megapixels",
        *("codec", "bpp", "encode ms", "ratio", "CPU", "decode ms", "ratio", "CPU", "MB enc.", "MB dec."),
    )
    for row in size.rows:
        table.add_row(
            f"{row.name}\n  {row.setting}",
            NOTHING if row.name in NETWORKS else f"{row.bpp:.3f}",
            *_timing(row.encode),
            *_timing(row.decode),
            _megabytes(row.encode_peak_bytes),
            _megabytes(row.decode_peak_bytes),
        )
    return table


def _costs(results: Results) -> Table:
    table = _table("What the networks compute", "codec", "parameters", "encode kMAC/px", "decode kMAC/px")
    for name, cost in results.costs.items():
        table.add_row(name, f"{cost.parameters / 1e6:.1f} M", f"{cost.encode_kmac:.1f}", f"{cost.decode_kmac:.1f}")
    return table


def _start_up(results: Results) -> Table:
    table = _table("Start-up, in a fresh process", "codec", "seconds", "CPU seconds", "peak MB")
    table.columns[0].header = "command"
    for row in results.start_up:
        table.add_row(row.what, _spread(row.seconds), _spread(row.cpu_seconds), _megabytes(row.peak_bytes))
    return table


def _timing(timing: Timing | None) -> tuple[str, str, str]:
    if timing is None:
        return NOTHING, NOTHING, NOTHING
    return _spread(timing.seconds, 1000), _spread(timing.ratio), _digits(timing.cpu_ratio.median)


def _spread(spread: Spread | None, unit: float = 1) -> str:
    """The median, and least to most below."""
    if spread is None:
        return NOTHING
    return f"{_digits(spread.median * unit)}\n{_digits(spread.low * unit)}..{_digits(spread.high * unit)}"


def _digits(value: float) -> str:
    """Two or three digits that matter, never an exponent."""
    return f"{value:.{0 if value >= 99.5 else 1 if value >= 9.95 else 2 if value >= 0.0995 else 3}f}"


def _megabytes(size: int | None) -> str:
    return NOTHING if size is None else f"{size / 1e6:.0f}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, collapse_padding=True)
    for column in columns:
        table.add_column(column, justify="left" if column == "codec" else "right", no_wrap=True)
    return table
