"""Pages that stand alone: one HTML file with its style, script and pictures inside, which loads nothing from anywhere.

A page is `document(title, body)`. A body is made by `fragment` from a template in `templates/`, out of parts: `bars`,
`table` and the charts of `charts.py`. Everything that is not `Markup` is escaped, file names above all: templates do so
by themselves, and `Markup(...).format(...)` escapes what it is given.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from psic_cli.picture import Pixels

# Names of colours: each version has one on every page, in bars, charts and labels alike (page.css).
TONES = ("original", "full", "protected", "machine", "keyless")

LONGEST_SIDE = 1024  # pixels of a picture in a page: sharp on a phone and in a column, some 150 kB


@dataclass(frozen=True)
class Bar:
    """One horizontal bar. value: 0..1, the part of the track that is filled. text: the figure in words.

    tone: one of TONES, or "muted". low, high: its interval, as a whisker. strong: the row that matters.
    """

    label: str
    value: float
    text: str
    tone: str = "muted"
    low: float | None = None
    high: float | None = None
    strong: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure of a table: its text, and its interval or another remark in small print."""

    text: str
    note: str = ""


Row = Sequence[str | Figure]


def document(title: str, body: Markup, *, summary: str = "", kind: str = "") -> bytes:
    """A whole HTML5 page in UTF-8. title: its heading. summary: a sentence below the heading. kind: a word above it.

    The page carries a content security policy that forbids every connection, and every script but its own. What UTF-8
    cannot express (file names of other encodings) is spelled out.
    """
    style, script = _asset("page.css"), _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = fragment(
        "document.html",
        title=title,
        body=body,
        summary=summary,
        kind=kind,
        script_hash=f"sha256-{digest}",
        style=Markup(style),
        script=Markup(script),
    )
    return page.encode("utf-8", "backslashreplace")


def fragment(template: str, **values: Any) -> Markup:
    """A template of `templates/` with its values. A name that it needs and does not get is an error."""
    return Markup(_templates().get_template(template).render(values))


def bars(rows: Sequence[Bar]) -> Markup:
    """Horizontal bars below each other."""
    return fragment("bars.html", rows=rows)


def table(caption: str, columns: Sequence[str], rows: Sequence[Row], *, words: int = 1) -> Markup:
    """A table that scrolls by itself where the window is narrow. words: how many columns from the left hold words; the
    others hold figures.
    """
    return fragment("table.html", caption=caption, columns=columns, rows=rows, words=words)


def data_uri(rgb: Pixels, *, longest: int = LONGEST_SIDE, lossless: bool = False) -> str:
    """A picture as text that an <img> can show: WebP, made smaller if a side is longer than `longest` pixels.

    rgb: [H, W, 3] uint8. lossless: for differences that a lossy picture would hide.
    """
    picture = Image.fromarray(rgb)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=lossless, quality=90, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(bars=bars, table=table)
    return environment


@functools.cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text("utf-8")
