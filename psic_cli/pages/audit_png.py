"""The report of `psic audit` as one picture, for places that show no pages: drawn with Pillow and its built-in font."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from psic_cli import __version__
from psic_cli.evaluation.audit_text import facts, role, sentence
from psic_cli.pages.audit_parts import MAGNIFIED, Panel, caption_bars, label_bars, remark, tone_of
from psic_cli.pages.base import Bar
from psic_cli.picture import Pixels

# Pixels, drawn at twice the size that they are meant for, so that text is sharp on any screen.
COLUMN, GAP, MARGIN = 720, 48, 72
_BAR, _ROW = 12, 66
_INK, _MUTED, _LINE, _TRACK, _GROUND = "#181b20", "#5a6370", "#e1e3e6", "#ecedef", "#ffffff"
# As in templates/page.css.
_TONES = {"original": "#4d5866", "full": "#0068a5", "protected": "#bf3f0a", "muted": "#b4bac2"}

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(panels: Sequence[Panel]) -> bytes:
    """All files below each other, as PNG. panels: at least one."""
    sheets = [_sheet(panel) for panel in panels]
    footer = f"psic {__version__}  A verdict is about one picture and one model; about others it says nothing."
    width = max(sheet.width for sheet in sheets)
    height = sum(sheet.height for sheet in sheets) + 100
    whole = Image.new("RGB", (width, height), _GROUND)
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    ImageDraw.Draw(whole).text((MARGIN, top + 10), _fitted(footer, 24, width - 2 * MARGIN), _MUTED, _font(24))
    stream = io.BytesIO()
    whole.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _sheet(panel: Panel) -> Image.Image:
    """One file: its name, a line for each model, and a column for each version."""
    audited = panel.audited
    columns = [_column(name, panel) for name in panel.pictures]
    width = 2 * MARGIN + len(columns) * COLUMN + (len(columns) - 1) * GAP
    words = [(panel.name, 52, _INK), (facts(audited), 28, _MUTED)]
    for audit in audited.audits:
        words += [(f"{audit.model}, {role(audit.trained_against)}", 30, _INK), (sentence(audit), 28, _MUTED)]
    heading = sum(size + 18 for _, size, _ in words)
    sheet = Image.new("RGB", (width, MARGIN + heading + 30 + max(c.height for c in columns) + 30), _GROUND)
    pen = ImageDraw.Draw(sheet)
    top = MARGIN
    for text, size, colour in words:
        pen.text((MARGIN, top), _fitted(text, size, width - 2 * MARGIN), colour, _font(size))
        top += size + 18
    for number, column in enumerate(columns):
        sheet.paste(column, (MARGIN + number * (COLUMN + GAP), top + 30))
    return sheet


def _column(version: str, panel: Panel) -> Image.Image:
    """One version: picture, difference, and bars for each model."""
    audited = panel.audited
    pictures = [_scaled(panel.pictures[version])]
    if panel.differences:
        changed = panel.differences.get(version)
        pictures.append(Image.new("RGB", pictures[0].size, _GROUND) if changed is None else _scaled(changed))
    shown = []
    for audit in audited.audits:
        reading = audit.reading(version)
        assert reading is not None
        shown.append((audit.model, remark(reading, audit), [*label_bars(reading, audit), *caption_bars(reading)]))
    below = 50 if panel.differences else 0
    height = 60 + sum(p.height + 24 for p in pictures) + below + sum(120 + _ROW * len(bars) for _, _, bars in shown)
    column = Image.new("RGB", (COLUMN, height), _GROUND)
    pen = ImageDraw.Draw(column)
    psnr = audited.psnr.get(version)
    pen.text((0, 0), version, _TONES.get(tone_of(version), _INK), _font(36))
    if psnr is not None:
        pen.text((COLUMN, 8), f"{psnr:.1f} dB PSNR", _MUTED, _font(26), anchor="ra")
    top = 60
    for picture in pictures:
        column.paste(picture, (0, top))
        top += picture.height + 24
    if version in panel.differences:
        pen.text((0, top - 10), f"what changed, magnified {MAGNIFIED} times", _MUTED, _font(26))
    top += below
    for model, note, bars in shown:
        pen.line([(0, top + 12), (COLUMN, top + 12)], _LINE, 2)
        pen.text((0, top + 34), model, _INK, _font(30))
        pen.text((COLUMN, top + 38), note, _MUTED, _font(26), anchor="ra")
        top += 92
        for bar in bars:
            _bar(pen, top, bar)
            top += _ROW
        top += 28
    return column


def _bar(pen: ImageDraw.ImageDraw, top: int, bar: Bar) -> None:
    """Label and figure, and the bar below them."""
    ink = _INK if bar.strong else _MUTED
    figure = _fitted(bar.text, 26, COLUMN / 2)
    pen.text((COLUMN, top), figure, ink, _font(26), anchor="ra")
    room = COLUMN - _font(26).getlength(figure) - 30
    pen.text((0, top), _fitted(bar.label, 26, room), ink, _font(26))
    for share, colour in ((1.0, _TRACK), (bar.value, _TONES[bar.tone])):
        right = max(_BAR, round(share * COLUMN))
        pen.rounded_rectangle((0, top + 38, right, top + 38 + _BAR), _BAR // 2, colour)


def _scaled(rgb: Pixels) -> Image.Image:
    """As wide as a column, and no higher than wide."""
    picture = Image.fromarray(rgb)
    scale = COLUMN / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _fitted(text: str, size: int, width: float) -> str:
    """The text on one line, cut where it would be wider. The font knows no minus; what else it lacks becomes a box."""
    text = "".join(char if char.isprintable() else "?" for char in text.replace("\u2212", "-"))
    if _font(size).getlength(text) <= width:
        return text
    while text and _font(size).getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


@lru_cache(maxsize=16)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)
