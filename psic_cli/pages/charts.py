"""Charts as inline SVG that page.css colours: lines through marks; and heat maps as tables, with figures in every cell.

A chart library would bring its own fonts, scripts and colours into a page that has one look, dark and light, and loads
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from psic_cli.pages.base import TONES, fragment

# In units of the drawing, which grows and shrinks with the page.
WIDTH, HEIGHT = 480, 330
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 12, 50

# Half the size of marks. Each version has a shape, so that colour is not all that tells them apart; others are dots.
_MARK, _DOT = 4.4, 2.6
_SHAPES = {
    "protected": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "machine": [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
    "keyless": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
}


@dataclass(frozen=True)
class Point:
    """One mark. title: what a pointer that rests on it is told. low, high: the interval of y, if it is drawn."""

    x: float
    y: float
    title: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """A line through its marks, in the order of x. tone: a colour of page.css. dash: of the line, 0 for a whole one.

    shown: drawn at first; the legend switches lines on and off. level: a line across the chart without marks, which
    has one point. group: the heading of its part of the legend.
    """

    name: str
    points: Sequence[Point]
    tone: str
    dash: int = 0
    shown: bool = True
    level: bool = False
    group: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of a heat map. heat: 0..1, how strong its colour is; None for no colour. interval, note: in small
    print, beside the text and below it.
    """

    text: str
    heat: float | None
    interval: str = ""
    note: str = ""


def line_chart(title: str, series: Sequence[Series], *, x_label: str, y_label: str, log_x: bool = False) -> Markup:
    """Lines over common axes, and their legend. Series without points are left out; nothing is drawn without any.

    log_x: every x must be above 0 then.
    """
    series = [line for line in series if line.points]
    marks = [point for line in series if not line.level for point in line.points]
    if not marks:
        return Markup("")
    x_ticks = log_ticks([p.x for p in marks]) if log_x else linear_ticks([p.x for p in marks])
    heights = [y for line in series for p in line.points for y in (p.y, p.low, p.high) if y is not None]
    y_ticks = linear_ticks(heights)
    x = _axis(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT, math.log if log_x else float)
    y = _axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP, float)
    lines = [_draw(line, x, y) for line in series]
    groups = dict.fromkeys(line.group for line in series)
    return fragment(
        "chart.html",
        title=title,
        x_label=x_label,
        y_label=y_label,
        frame={
            "width": WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
        },
        x_ticks=[(x(tick), f"{tick:g}") for tick in x_ticks],
        y_ticks=[(y(tick), f"{tick:g}") for tick in y_ticks],
        lines=lines,
        legend={group: [line for line in lines if line.series.group == group] for group in groups},
    )


def heat_map(
    title: str, corner: str, columns: Sequence[str], rows: Sequence[tuple[str, str, Sequence[Cell]]], scale: str
) -> Markup:
    """A table whose cells are coloured. rows: name, note in small print, one cell for each column.

    corner: what the names of the rows are. scale: what a strong colour means.
    """
    return fragment("heat_map.html", title=title, corner=corner, columns=columns, rows=rows, scale=scale)


def linear_ticks(values: Sequence[float], count: int = 5) -> list[float]:
    """Round numbers, some `count` of them, from below the least value to above the greatest."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    rough = span / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def log_ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times powers of ten, from below the least value to above the greatest; all above 0."""
    exponents = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    ticks = [float(f"{factor}e{exponent}") for exponent in exponents for factor in (1, 2, 5)]
    first = max(number for number, tick in enumerate(ticks) if tick <= min(values) * (1 + 1e-9))
    last = min(number for number, tick in enumerate(ticks) if tick >= max(values) * (1 - 1e-9))
    return ticks[first : max(last, first + 1) + 1]


@dataclass(frozen=True)
class _Mark:
    outline: str
    x: float
    title: str
    whisker: tuple[float, float] | None


@dataclass(frozen=True)
class _Line:
    """A series in units of the drawing. swatch: its mark in the legend."""

    series: Series
    path: str
    marks: list[_Mark]
    swatch: str


def _draw(series: Series, x: Callable[[float], float], y: Callable[[float], float]) -> _Line:
    points = sorted(series.points, key=lambda point: point.x)
    if series.level:
        height = y(points[0].y)
        return _Line(series, f"M{LEFT} {height:.1f}H{WIDTH - RIGHT}", [], "")
    marks = [_Mark(_outline(series.tone, x(p.x), y(p.y)), x(p.x), p.title, _whisker(p, y)) for p in points]
    path = "M" + "L".join(f"{x(p.x):.1f} {y(p.y):.1f}" for p in points)
    return _Line(series, path, marks, _outline(series.tone, 14, 6))


def _axis(
    first: float, last: float, start: float, end: float, measure: Callable[[float], float]
) -> Callable[[float], float]:
    """From values to places in the drawing, `first` to `start` and `last` to `end`."""

    def place(value: float) -> float:
        share = (measure(value) - measure(first)) / (measure(last) - measure(first))
        return start + share * (end - start)

    return place


def _whisker(point: Point, y: Callable[[float], float]) -> tuple[float, float] | None:
    if point.low is None or point.high is None:
        return None
    return min(y(point.low), HEIGHT - BOTTOM), max(y(point.high), TOP)


def _outline(tone: str, x: float, y: float) -> str:
    """A mark around a place, as the `d` of a path; a small dot for what has no shape of its own."""
    if tone in _SHAPES:
        return "M" + "L".join(f"{x + dx * _MARK:.1f} {y + dy * _MARK:.1f}" for dx, dy in _SHAPES[tone]) + "Z"
    r = _MARK if tone in TONES else _DOT
    return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z"
