"""Figures in words, and the parts that a report is put together from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from psic_cli.pages.base import Figure

Results = Mapping[str, Any]  # the JSON of one `psic evaluate`, or a part of it
Measured = Mapping[str, float]  # an interval: value, low, high

NOTHING = "–"
DEFAULT_QUALITY = 50


@dataclass(frozen=True)
class Section:
    """A part of a page. anchor: its name in links. lead: what a reader must know before the figures."""

    anchor: str
    title: str
    lead: str
    body: Markup


@dataclass(frozen=True)
class Tile:
    """One key figure: what it is, itself, and a remark in small print."""

    what: str
    figure: str
    note: str


def number(value: float, digits: int) -> str:
    """With a real minus sign, and none for zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def percent(share: float, digits: int = 0) -> str:
    """A share, 0..1, as "37 %"."""
    return f"{number(100 * share, digits)} %"


def span(low: str, high: str) -> str:
    """An interval in words."""
    return f"{low} to {high}"


def figure(measured: Measured | None, digits: int) -> Figure:
    """A measured figure for a table, its interval in small print."""
    if measured is None:
        return Figure(NOTHING)
    low, high = (number(measured[key], digits) for key in ("low", "high"))
    return Figure(number(measured["value"], digits), span(low, high))


def share(measured: Measured | None) -> Figure:
    """The same for a share, as percent."""
    if measured is None:
        return Figure(NOTHING)
    return Figure(percent(measured["value"]), percent_span(measured))


def percent_span(measured: Measured) -> str:
    """The interval of a share, as percent."""
    return f"{span(number(100 * measured['low'], 0), number(100 * measured['high'], 0))} %"


def card(title: str, body: Markup, note: str = "") -> Markup:
    """A framed part with a heading of its own, or nothing if there is no body."""
    if not body:
        return Markup("")
    remark = Markup("<p>{}</p>").format(note) if note else Markup("")
    return Markup('<div class="card"><h3>{}</h3>{}{}</div>\n').format(title, remark, body)


def grid(cards: Iterable[Markup], *, close: bool = False) -> Markup:
    """Cards beside each other where there is room. close: three in a row, for what can be narrow."""
    joined = Markup("").join(card for card in cards if card)
    kind = "grid close" if close else "grid"
    return Markup('<div class="{}">{}</div>\n').format(kind, joined) if joined else Markup("")


def folded(summary: str, body: Markup) -> Markup:
    """What only some want to see."""
    return Markup("<details><summary>{}</summary>{}</details>\n").format(summary, body) if body else Markup("")


def notes(lines: Sequence[str]) -> Markup:
    """Remarks below a figure."""
    return Markup("").join(Markup('<p class="note">{}</p>\n').format(line) for line in lines)


def usual_quality(qualities: Iterable[int]) -> int:
    """The measured quality that is nearest to what `psic encode` takes unless told."""
    return min(qualities, key=lambda quality: (abs(quality - DEFAULT_QUALITY), quality))


def unique(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of its first."""
    return list(dict.fromkeys(values))


def plural(count: int, word: str) -> str:
    """ "1 picture", "2 pictures"."""
    return (
        f"{count} {word}" if count == 1 else f"{count} {word.removesuffix('y')}{'ies' if word.endswith('y') else 's'}"
    )
