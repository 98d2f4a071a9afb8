"""Size and quality on a page: rate-distortion curves, what other codecs do, BD-rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from psic_cli.evaluation.bd_rate import is_kodak, published_curves
from psic_cli.pages.base import Row, table
from psic_cli.pages.charts import Point, Series, line_chart
from psic_cli.pages.figures import Results, Section, card, figure, folded, grid, notes, number, plural, unique

VERSIONS = ("full", "protected")
_PEER_NAMES = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jpeg2000": "JPEG 2000", "jpegxl": "JPEG XL"}
# Of the published curves these are drawn at first: the newest codecs made by hand and by training, and our own kind.
SHOWN_AT_FIRST = ("VTM", "ELIC", "bmshj2018-hyperprior")
PUBLISHED = "Published curves, not measured in this run:"
_PEER_TONES = 5
_BEYOND = 1.35  # other codecs are drawn as far as this factor beyond the rates of psic


def rates_section(results: Results) -> Section | None:
    """Rate and quality of a folder."""
    data = results.get("rate_distortion")
    if not data:
        return None
    rows = data["summaries"]
    limits = (rows[0]["bpp"]["value"] / _BEYOND, rows[-1]["bpp"]["value"] * _BEYOND)
    own_psnr, own_similar = (_own(rows, key, unit, digits) for key, unit, digits in _MEASURES)
    others = [_peer(data["peers"], name, tone, "psnr", limits) for tone, name in _peers(data)]
    published, conditions = _published(data, limits)
    similar_peers = [_peer(data["peers"], name, tone, "ms_ssim", limits) for tone, name in _peers(data)]
    charts = grid(
        [
            _chart("PSNR, dB", [*own_psnr, *others, *published]),
            _chart("MS-SSIM", [*own_similar, *similar_peers]),
        ]
    )
    remarks = [f"Published curves: {conditions}"] if published else []
    remarks += [note for note in data.get("notes", []) if not note.startswith("published curves:")]
    if others or published:
        remarks.append("Points of other codecs far beyond the rates of psic are left out of the charts.")
    body = charts + _bd_rates(data["bd_rates"]) + _table(rows) + notes([_sentence(remark) for remark in remarks])
    return Section(
        "rates",
        "Size and quality",
        f"Means over {plural(rows[0]['pictures'], 'picture')}, from the bytes of real files and what they decode to.",
        body,
    )


_MEASURES = (("psnr", "dB", 2), ("ms_ssim", "", 4))


def _chart(title: str, series: Sequence[Series]) -> Markup:
    return card(title, line_chart(title, series, x_label="bits per pixel", y_label=title))


def _own(rows: Sequence[Results], key: str, unit: str, digits: int) -> list[Series]:
    lines = []
    for version in VERSIONS:
        points = [
            Point(
                row["bpp"]["value"],
                measured["value"],
                f"{version}, quality {row['quality']}: {row['bpp']['value']:.3f} bpp, "
                f"{measured['value']:.{digits}f} {unit}".rstrip(),
                measured["low"],
                measured["high"],
            )
            for row in rows
            if (measured := row[key].get(version))
        ]
        lines.append(Series(f"psic, {version}", points, version))
    return lines


def _peers(data: Results) -> list[tuple[str, str]]:
    names = unique(row["peer"] for row in data["peers"])
    return [(f"peer-{number % _PEER_TONES + 1}", name) for number, name in enumerate(names)]


def _peer(rows: Sequence[Results], name: str, tone: str, key: str, limits: tuple[float, float]) -> Series:
    label = peer_name(name)
    points = [
        Point(
            row["bpp"]["value"],
            row[key]["value"],
            f"{label}, {_setting(row['setting'])}: {row['bpp']['value']:.3f} bpp, {row[key]['value']:.4g}",
        )
        for row in rows
        if row["peer"] == name and row.get(key) and limits[0] <= row["bpp"]["value"] <= limits[1]
    ]
    return Series(label, points, tone)


def _published(data: Results, limits: tuple[float, float]) -> tuple[list[Series], str]:
    """The curves of the literature, which hold for one set of pictures alone."""
    if not is_kodak(unique(row["picture"] for row in data["pictures"])):
        return [], ""
    curves, conditions = published_curves()
    lines = []
    for number_, curve in enumerate(curves):
        points = [
            Point(float(bpp), float(psnr), f"{curve.name}: {bpp:.3f} bpp, {psnr:.2f} dB. {curve.source}")
            for bpp, psnr in zip(curve.curve.bpp, curve.curve.psnr, strict=True)
            if limits[0] <= bpp <= limits[1]
        ]
        shown = curve.name in SHOWN_AT_FIRST
        lines.append(Series(curve.name, points, "published", 1 + number_ % 5, shown, group=PUBLISHED))
    return lines, conditions


def peer_name(name: str) -> str:
    """What people call a codec; published curves keep the names that they came with."""
    return _PEER_NAMES.get(name, name)


def _setting(setting: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items()).replace("_", " ")


def _bd_rates(rows: Sequence[Results]) -> Markup:
    if not rows:
        return Markup("")
    cells: list[Row] = [
        [
            peer_name(row["anchor"]),
            figure(row["percent"], 1),
            f"{number(row['low_db'], 1)} to {number(row['high_db'], 1)}",
            f"{row['share']:.0%}".replace("%", " %"),
        ]
        for row in rows
    ]
    columns = ["against", "BD-rate, %", "over PSNR, dB", "share of the range of psic"]
    return table("BD-rate of the full version (negative: smaller files at equal PSNR)", columns, cells)


def _table(rows: Sequence[Results]) -> Markup:
    columns = ["quality", "bpp", *(f"{name} {version}" for name in ("PSNR", "MS-SSIM") for version in VERSIONS)]
    cells: list[Row] = [
        [
            str(row["quality"]),
            figure(row["bpp"], 3),
            *(figure(row[key].get(version), digits) for key, _, digits in _MEASURES for version in VERSIONS),
            f"{row['encode_seconds']:.2f}",
            f"{row['decode_seconds']:.2f}",
        ]
        for row in rows
    ]
    whole = table("Rate and quality, with 95 % intervals", [*columns, "encode, s", "decode, s"], cells)
    return folded("All figures of the charts", whole)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
