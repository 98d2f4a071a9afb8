"""What models read, on a page: each version, the shield after attacks, the machine version, sizes, retrieval."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from psic_cli.pages.base import TONES, Bar, Row, bars, table
from psic_cli.pages.charts import Cell, Point, Series, heat_map, line_chart
from psic_cli.pages.figures import (
    NOTHING,
    Results,
    Section,
    card,
    figure,
    folded,
    grid,
    number,
    percent,
    plural,
    share,
    span,
    unique,
    usual_quality,
)

TASKS = {
    "classification": "classification, top-1",
    "image_to_text": "finding the caption of a picture, R@1",
    "text_to_image": "finding the picture of a caption, R@1",
}
NO_ATTACK = "none"


def read_rows(results: Results) -> list[Results]:
    """Rows of classification: vision-language models first, then plain classifiers."""
    data = results.get("classification") or {}
    return [*data.get("zero_shot", []), *data.get("unseen", [])]


def classification_section(results: Results) -> Section | None:
    """What each model takes each version for."""
    rows = read_rows(results)
    if not rows:
        return None
    unseen = {row["model"] for row in results["classification"].get("unseen", [])}
    quality = _quality(rows)
    cards = [
        card(
            model,
            bars([_read_bar(row) for row in _in_order(_of(rows, model, quality))]),
            "a plain classifier, unseen in training" if model in unseen else "zero-shot, by comparing with words",
        )
        for model in unique(row["model"] for row in rows)
    ]
    versions = results["classification"].get("versions", [])
    whole = [_models_table(rows, versions), *(_model_table(rows, m) for m in unique(r["model"] for r in rows))]
    return Section(
        "readability",
        "What models read",
        f"Top-1 accuracy on {plural(rows[0]['pictures'], 'labelled picture')} at quality {quality}. Protected is what "
        "anybody decodes, keyless the worst of all that a decoder without the key can ask for.",
        grid(cards, close=True) + folded("All versions, qualities and figures", Markup("").join(whole)),
    )


def kinds_section(results: Results) -> Section | None:
    """Whether models still tell the kind, where they are asked for kinds in place of classes."""
    data = (results.get("classification") or {}).get("kinds")
    if not data:
        return None
    rows, names = data["zero_shot"], data["names"]
    quality, models = _quality(rows), unique(row["model"] for row in rows)
    cards = [card(m, bars([_read_bar(row) for row in _in_order(_of(rows, m, quality))])) for m in models]
    lead = (
        f"Top-1 accuracy among {len(names)} kinds ({', '.join(names)}) on {plural(rows[0]['pictures'], 'picture')} at "
        f"quality {quality}. A guess is right in {percent(data['chance'])}."
    )
    whole = Markup("").join(_model_table(rows, model) for model in models)
    return Section("kinds", "Coarse meaning", lead, grid(cards, close=True) + folded("All figures", whole))


def attacks_section(results: Results) -> Section | None:
    """The shield matrix: what is left of the shield after each attack, for each model."""
    data = results.get("attacks")
    if not data or not data["outcomes"]:
        return None
    rows = data["outcomes"]
    quality = _quality(rows)
    maps = {
        (task, q): _matrix(task, q, data["attacks"], [r for r in rows if (r["task"], r["quality"]) == (task, q)])
        for task in unique(row["task"] for row in rows)
        for q in unique(row["quality"] for row in rows)
    }
    first = Markup("").join(whole for (_, q), whole in maps.items() if q == quality)
    rest = Markup("").join(whole for (_, q), whole in maps.items() if q != quality)
    return Section(
        "attacks",
        "What is left of the shield",
        "How much of the effect of the shield remains after an attack: 100 % if the attack changes nothing, 0 % if the "
        "shield is gone. Below it: right answers to attacked protected pictures, against those to attacked originals.",
        first + folded("Other qualities", rest),
    )


def machine_section(results: Results) -> Section | None:
    """What the machine version is good for: accuracy by size, against the full version."""
    rows = read_rows(results)
    data = results.get("classification") or {}
    bpp = {row["quality"]: row["bpp"]["value"] for row in data.get("versions", [])}
    gains = data.get("machine", [])
    if not gains and len(bpp) < 2:
        return None
    cards = [card(model, _machine_chart(rows, model, bpp)) for model in unique(row["model"] for row in rows)]
    columns = ["model", "quality", "bpp", "full", "machine", "machine less full, points"]
    cells = [
        [
            row["model"],
            str(row["quality"]),
            figure(row["bpp"], 3),
            share(row["full"]),
            share(row["machine"]),
            figure({key: 100 * value for key, value in row["gain"].items()}, 1),
        ]
        for row in gains
    ]
    whole = table("Top-1 of the machine version against the full one", columns, cells) if gains else Markup("")
    lead = "Top-1 accuracy by size of the file. Both versions come out of the same bytes, and both need the key."
    return Section("machine", "The machine version", lead, (grid(cards) if len(bpp) > 1 else Markup("")) + whole)


def agreement_section(results: Results) -> Section | None:
    """Whether pictures of other sizes are protected as well."""
    rows = results.get("agreement")
    if not rows:
        return None
    quality = _quality(rows)
    cards = [
        card(model, Markup("").join(_size(_of(rows, model, quality), side) for side in unique(r["side"] for r in rows)))
        for model in unique(row["model"] for row in rows)
    ]
    columns = ["model", "shorter side", "version", "quality", "pictures", "same label as the original"]
    cells = [
        [
            *(row["model"], _side(row["side"]), row["version"], str(row["quality"]), str(row["pictures"])),
            share(row["agreement"]),
        ]
        for row in rows
    ]
    lead = (
        f"How often a model gives a version the label that it gives the original of the same size, at quality "
        f"{quality}. Low is well protected."
    )
    whole = folded("All figures", table("Agreement with the original", columns, cells, words=3))
    title = "Small and large pictures" if len({row["side"] for row in rows}) > 1 else "Pictures without labels"
    return Section("sizes", title, lead, grid(cards, close=True) + whole)


def retrieval_section(results: Results) -> Section | None:
    """Image-text retrieval both ways."""
    data = results.get("retrieval")
    if not data or not data["retrieval"]:
        return None
    rows = data["retrieval"]
    quality = _quality(rows)
    models = unique(row["model"] for row in rows)
    cards = [
        card(f"{model}, {words}", bars([_bar(row, row[way]["r1"]) for row in _in_order(_of(rows, model, quality))]))
        for model in models
        for way, words in (("image_to_text", "caption found"), ("text_to_image", "picture found"))
    ]
    whole = Markup("").join(_retrieval_table([row for row in rows if row["model"] == model]) for model in models)
    lead = (
        f"R@1 among {plural(rows[0]['pictures'], 'picture')} and {plural(rows[0]['captions'], 'caption')} "
        f"at quality {quality}: how often the first answer is right."
    )
    return Section(
        "retrieval", "Finding captions and pictures", lead, grid(cards, close=True) + folded("All figures", whole)
    )


def _quality(rows: Sequence[Results]) -> int:
    return usual_quality(row["quality"] for row in rows if row["quality"] is not None)


def _of(rows: Sequence[Results], model: str, quality: int) -> list[Results]:
    """Rows of one model and quality, with those of the original, which has none."""
    return [row for row in rows if row["model"] == model and row["quality"] in (quality, None)]


def _in_order(rows: Sequence[Results]) -> list[Results]:
    return sorted(rows, key=lambda row: TONES.index(row["version"]) if row["version"] in TONES else len(TONES))


def _read_bar(row: Results) -> Bar:
    return _bar(row, row["top1"])


def _bar(row: Results, measured: Results) -> Bar:
    version = row["version"]
    low, high = measured["low"], measured["high"]
    return Bar(version, measured["value"], percent(measured["value"]), version, low, high, version == "protected")


def _models_table(rows: Sequence[Results], versions: Sequence[Results]) -> Markup:
    """Versions and qualities down, models across."""
    models = unique(row["model"] for row in rows)
    top1 = {(row["version"], row["quality"], row["model"]): row["top1"] for row in rows}
    cells: list[Row] = [
        ["original", NOTHING, NOTHING, NOTHING, *(share(top1.get(("original", None, m))) for m in models)]
    ]
    cells += [
        [
            row["version"],
            str(row["quality"]),
            figure(row["bpp"], 3),
            figure(row["psnr"], 2),
            *(share(top1.get((row["version"], row["quality"], model))) for model in models),
        ]
        for row in versions
    ]
    columns = ["version", "quality", "bpp", "PSNR, dB", *(f"top-1, {model}" for model in models)]
    return table("Versions: size, quality and top-1 accuracy", columns, cells)


def _model_table(rows: Sequence[Results], model: str) -> Markup:
    columns = [
        "version",
        "quality",
        "top-1",
        "top-5",
        "share of the top-1 of originals",
        "same label",
        "attack success",
    ]
    cells = [
        [
            row["version"],
            str(row["quality"]) if row["quality"] is not None else NOTHING,
            *(share(row[key]) for key in ("top1", "top5", "kept", "agreement", "attack_success")),
        ]
        for row in rows
        if row["model"] == model
    ]
    return table(f"{model}, {plural(rows[0]['pictures'], 'picture')}", columns, cells)


def _matrix(task: str, quality: int, attacks: Results, rows: Sequence[Results]) -> Markup:
    models = unique(row["model"] for row in rows)
    of = {(row["attack"], row["model"]): row for row in rows}
    lines = [
        ("no attack", "", cells) if attack == NO_ATTACK else (attack, attacks.get(attack, ""), cells)
        for attack in unique(row["attack"] for row in rows)
        for cells in [[_cell(of.get((attack, model))) for model in models]]
    ]
    title = f"{TASKS.get(task, task)}, {plural(rows[0]['pictures'], 'picture')}, quality {quality}"
    return heat_map(
        f"{title[:1].upper()}{title[1:]}", "attack", models, lines, "stronger colour: more of the shield is left"
    )


def _cell(row: Results | None) -> Cell:
    if row is None:
        return Cell(NOTHING, None)
    figures = f"{number(100 * row['protected']['value'], 0)} vs {percent(row['original']['value'])}"
    left = row["remaining"]
    if left is None:
        return Cell(NOTHING, None, note=figures)
    interval = span(number(100 * left["low"], 0), number(100 * left["high"], 0))
    return Cell(percent(left["value"]), left["value"], interval, figures)


def _machine_chart(rows: Sequence[Results], model: str, bpp: dict[int, float]) -> Markup:
    own = [row for row in rows if row["model"] == model]
    series = [
        Series(
            version,
            [
                Point(
                    bpp[row["quality"]],
                    row["top1"]["value"],
                    f"{version}, quality {row['quality']}: {bpp[row['quality']]:.3f} bpp, "
                    f"{percent(row['top1']['value'], 1)}",
                    row["top1"]["low"],
                    row["top1"]["high"],
                )
                for row in own
                if row["version"] == version and row["quality"] in bpp
            ],
            version,
            shown=version != "keyless",
        )
        for version in ("full", "machine", "protected", "keyless")
    ]
    original = [Point(0, row["top1"]["value"], "original") for row in own if row["version"] == "original"]
    series.append(Series("original", original, "original", 1, level=True))
    return line_chart(f"Top-1 of {model}", series, x_label="bits per pixel", y_label="top-1 accuracy")


def _size(rows: Sequence[Results], side: int | None) -> Markup:
    chosen = [row for row in rows if row["side"] == side and row["version"] != "keyless"]
    if not chosen:
        return Markup("")
    heading = f"{_side(side)}, {plural(chosen[0]['pictures'], 'picture')}"
    return Markup("<h4>{}</h4>{}").format(heading, bars([_bar(row, row["agreement"]) for row in _in_order(chosen)]))


def _side(side: int | None) -> str:
    return "full size" if side is None else f"{side} px"


def _recall(depth: str) -> str:
    """ "r10" as people write it."""
    return f"R@{depth.removeprefix('r')}"


def _retrieval_table(rows: Sequence[Results]) -> Markup:
    depths = list(rows[0]["image_to_text"])
    columns = [
        *("version", "quality"),
        *(f"caption {_recall(depth)}" for depth in depths),
        *(f"picture {_recall(depth)}" for depth in depths),
        *("attack success, caption", "attack success, picture"),
    ]
    cells = [
        [
            row["version"],
            str(row["quality"]) if row["quality"] is not None else NOTHING,
            *(share(row[way][depth]) for way in ("image_to_text", "text_to_image") for depth in depths),
            share(row["attack_success_image_to_text"]),
            share(row["attack_success_text_to_image"]),
        ]
        for row in rows
    ]
    return table(rows[0]["model"], columns, cells)
