"""Pictures made by code: pages of text, windows of programs, charts and line art, on white and on other paper.

Photographs teach a codec little about sharp edges on plain ground. Start with `drawing`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Draw = np.random.Generator

LETTERS = "eeeeeetttttaaaaooooiiiinnnnsssshhhrrrdddlllccuummwwffggyyppbbvvkjxqz"
SMALLEST = 64  # pixels: what is smaller is a corner of it
FINE = 2  # line art is drawn so many times larger, and shrunk
SCANNED = 0.25  # share of the pages that have grain


def drawing(side: int, draw: Draw) -> np.ndarray:
    """A square of `side` pixels, uint8 [side, side, 3]; equal numbers drawn give equal pictures."""
    kind = (_page, _window, _chart, _line_art)[int(draw.integers(4))]
    return np.asarray(kind(max(side, SMALLEST), draw), np.uint8)[:side, :side]


def _page(side: int, draw: Draw) -> Any:
    """Lines of text, as in a document or a book, some of them headings."""
    paper, ink = _paper_and_ink(draw)
    image = Image.new("RGB", (side, side), paper)
    _write(ImageDraw.Draw(image), (int(draw.integers(-20, 20)), int(draw.integers(-20, 10)), side, side), ink, draw)
    if draw.random() >= SCANNED:
        return image
    grain = draw.normal(0, draw.uniform(0.5, 3), (side, side, 1))
    return (np.asarray(image) + grain).round().clip(0, 255)


def _window(side: int, draw: Draw) -> Any:
    """What a program shows: a bar with a title, buttons, boxes, and text."""
    paper, ink = _paper_and_ink(draw)
    image = Image.new("RGB", (side, side), paper)
    pen = ImageDraw.Draw(image)
    bar = int(draw.integers(14, 40))
    pen.rectangle((0, 0, side, bar), fill=_colour(draw))
    pen.text((8, bar // 4), _words(3, draw), fill=ink, font=_font(int(draw.integers(9, 16))))
    for _ in range(int(draw.integers(2, 9))):
        left, top = (int(draw.integers(-10, side)) for _ in range(2))
        box = (left, max(bar, top), left + int(draw.integers(20, side)), max(bar, top) + int(draw.integers(12, side)))
        fill, outline = _near(paper, draw) if draw.random() < 0.7 else _colour(draw), _near(ink, draw)
        radius = int(draw.integers(7)) if draw.random() < 0.5 else 0
        pen.rounded_rectangle(box, radius, fill=fill, outline=outline)
        _write(pen, (box[0] + 4, box[1] + 2, min(box[2], side), min(box[3], side)), ink, draw)
    return image


def _chart(side: int, draw: Draw) -> Any:
    """Bars or curves over a grid, with numbers at the axes."""
    paper, ink = _paper_and_ink(draw)
    image = Image.new("RGB", (side, side), paper)
    pen, font = ImageDraw.Draw(image), _font(int(draw.integers(8, 13)))
    left, bottom, lines = 28, side - 18, int(draw.integers(3, 9))
    for y in np.linspace(6, bottom, lines).round().astype(int).tolist():
        pen.line((left, y, side, y), fill=_near(paper, draw))
        pen.text((2, y - 6), str(int(draw.integers(1000))), fill=ink, font=font)
    for _ in range(int(draw.integers(1, 4))):
        heights = np.abs(np.cumsum(draw.normal(0, 1, int(draw.integers(4, 40)))))
        tops = bottom - heights / (heights.max() + 1e-6) * draw.uniform(0.2, 1) * (bottom - 8)
        places, colour = np.linspace(left, side - 4, len(tops)), _colour(draw)
        if draw.random() < 0.4:
            for x, y in zip(places.tolist(), tops.tolist(), strict=True):
                pen.rectangle((int(x), int(y), int(x + 0.7 * (side - left) / len(tops)), bottom), fill=colour)
        else:
            points = list(zip(places.tolist(), tops.tolist(), strict=True))
            pen.line(points, fill=colour, width=int(draw.integers(1, 4)))
    pen.line((left, 0, left, bottom, side, bottom), fill=ink)
    return image


def _line_art(side: int, draw: Draw) -> Any:
    """Curves, ellipses and polygons, outlined, some of them filled."""
    paper, ink = _paper_and_ink(draw)
    large = side * FINE
    image = Image.new("RGB", (large, large), paper)
    pen = ImageDraw.Draw(image)
    for _ in range(int(draw.integers(3, 16))):
        width, kind = int(draw.integers(1, 4 * FINE)), draw.integers(3)
        colour = ink if draw.random() < 0.7 else _colour(draw)
        centre, reach = draw.uniform(0, large, 2), draw.uniform(0.05, 0.5) * large
        if kind == 0:
            box = (*(centre - reach).tolist(), *(centre + reach * draw.uniform(0.3, 1, 2)).tolist())
            pen.ellipse(box, outline=colour, width=width, fill=_colour(draw) if draw.random() < 0.2 else None)
            continue
        turns = np.sort(draw.uniform(0, 2 * math.pi, int(draw.integers(3, 9))))
        around = centre + reach * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        if kind == 1:
            pen.polygon(list(map(tuple, around.tolist())), fill=_colour(draw) if draw.random() < 0.3 else None)
        walk = around if kind == 1 else np.cumsum(draw.normal(0, reach / 12, (60, 2)), axis=0) + centre
        pen.line(list(map(tuple, walk.tolist())), fill=colour, width=width, joint="curve")
    return image.resize((side, side), Image.Resampling.BOX)


def _write(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], ink: Colour, draw: Draw) -> None:
    """Fill a box (left, top, right, bottom) with lines of words."""
    size = int(draw.integers(8, 22))
    left, y, right, bottom = box
    while y < bottom - size:
        heading = draw.random() < 0.1
        here = int(1.5 * size) if heading else size
        if right > left:
            words = _words(1 + int((right - left) / (3 * here)), draw)
            pen.text((left, y), words, fill=_near(ink, draw) if heading else ink, font=_font(here))
        y += int(here * draw.uniform(1.2, 1.5)) + (size if draw.random() < 0.1 else 0)


def _words(count: int, draw: Draw) -> str:
    made = []
    for _ in range(count):
        word = "".join(LETTERS[i] for i in draw.integers(len(LETTERS), size=int(draw.integers(1, 10))))
        chance = draw.random()
        made.append(word.capitalize() if chance < 0.15 else str(draw.integers(10**4)) if chance < 0.25 else word)
    return " ".join(made)


def _paper_and_ink(draw: Draw) -> tuple[Colour, Colour]:
    """White paper half of the time, else tinted or, rarely, dark; what is written on it has the contrast of text."""
    chance = draw.random()
    light = np.full(3, 255.0) if chance < 0.5 else draw.uniform(215, 256) - draw.uniform(0, 25, 3)
    dark = draw.uniform(0, 70) + draw.uniform(0, 30, 3)
    paper, ink = (dark, light) if chance > 0.85 else (light, dark)
    return _bytes(paper), _bytes(ink)


def _colour(draw: Draw) -> Colour:
    return _bytes(draw.uniform(0, 256, 3))


def _near(colour: Colour, draw: Draw) -> Colour:
    return _bytes(np.array(colour) + draw.uniform(-40, 40))


def _bytes(colour: np.ndarray) -> Colour:
    red, green, blue = colour.clip(0, 255).astype(int).tolist()
    return red, green, blue


@lru_cache(maxsize=64)
def _font(size: int) -> Any:
    """Pillow's own font, the same on every machine that has the same Pillow."""
    return ImageFont.load_default(size)
