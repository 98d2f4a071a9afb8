"""The page of `psic evaluate`: everything that one run measured, in one file. Start with `page`.

It reads the JSON of the results (evaluation/report.py says what is in it), so that a page can be made from a stored
file too. A part that was not measured has no section.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from psic_cli.pages.base import Figure, Row, document, fragment, table
from psic_cli.pages.figures import (
    NOTHING,
    Results,
    Section,
    Tile,
    grid,
    number,
    percent,
    percent_span,
    plural,
    span,
    unique,
    usual_quality,
)
from psic_cli.pages.rates import peer_name, rates_section
from psic_cli.pages.readability import (
    agreement_section,
    attacks_section,
    classification_section,
    kinds_section,
    machine_section,
    read_rows,
    retrieval_section,
)
from psic_cli.pages.showing import ShownPicture

FEW_PICTURES = 20  # below that a bootstrap says little
_TILES_OF_MODELS = 2


def page(results: Results, pictures: Sequence[ShownPicture] = ()) -> bytes:
    """The page, HTML in UTF-8. results: as `evaluation.report.to_json` writes them."""
    sections = [
        rates_section(results),
        classification_section(results),
        kinds_section(results),
        attacks_section(results),
        machine_section(results),
        agreement_section(results),
        retrieval_section(results),
        _pictures_section(pictures),
        _limits_section(results, bool(pictures)),
        _method_section(results),
    ]
    about = results["about"]
    body = fragment("evaluation.html", tiles=_tiles(results), sections=[section for section in sections if section])
    return document(f"{about['model']}, measured", body, kind="psic evaluate", summary=_summary(results))


def _summary(results: Results) -> str:
    """What was measured, in a sentence."""
    parts = []
    if data := results.get("rate_distortion"):
        peers = [peer_name(name) for name in unique(row["peer"] for row in data["peers"])]
        against = f" beside {', '.join(peers)}" if peers else ""
        parts.append(f"size and quality of {plural(data['summaries'][0]['pictures'], 'picture')}{against}")
    if rows := read_rows(results):
        models = plural(len({row["model"] for row in rows}), "model")
        parts.append(f"what {models} read in {plural(rows[0]['pictures'], 'labelled picture')}")
    if data := results.get("retrieval"):
        parts.append(f"which captions {plural(data['retrieval'][0]['pictures'], 'picture')} are found by")
    if data := results.get("attacks"):
        parts.append(f"what is left of the shield after {plural(len(data['attacks']) - 1, 'attack')}")
    if data := results.get("agreement"):
        parts.append(f"the shield at {plural(len({row['side'] for row in data}), 'size')}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}. Figures are means with 95 % bootstrap intervals." if text else ""


def _tiles(results: Results) -> list[Tile]:
    tiles = []
    if data := results.get("rate_distortion"):
        usual = usual_quality(row["quality"] for row in data["summaries"])
        row = next(row for row in data["summaries"] if row["quality"] == usual)
        full, protected = (row["psnr"][version]["value"] for version in ("full", "protected"))
        size = f"at {number(row['bpp']['value'], 2)} bpp, quality {usual}"
        tiles.append(Tile("Full version", f"{number(full, 1)} dB", size))
        tiles.append(
            Tile("Cost of the shield", f"{number(protected - full, 1)} dB", "PSNR, protected less full version")
        )
        for rate in data["bd_rates"][:1]:
            p = rate["percent"]
            interval = span(number(p["low"], 0), number(p["high"], 0))
            name = peer_name(rate["anchor"])
            tiles.append(
                Tile(f"File size against {name}", f"{number(p['value'], 0)} %", f"{interval} %, at equal PSNR")
            )
    rows = [row for row in read_rows(results) if row["version"] in ("protected", "keyless") and row["kept"]]
    if rows:
        usual = usual_quality(row["quality"] for row in rows)
        for model in unique(row["model"] for row in rows)[:_TILES_OF_MODELS]:
            for row in rows:
                if (row["model"], row["quality"], row["version"]) == (model, usual, "protected"):
                    note = f"of what it reads in originals ({percent_span(row['kept'])})"
                    tiles.append(Tile(f"{model} reads protected", percent(row["kept"]["value"]), note))
    attacked = [row for row in (results.get("attacks") or {}).get("outcomes", []) if row["remaining"]]
    if attacked:
        usual = usual_quality(row["quality"] for row in attacked)
        weakest = [row for row in attacked if row["quality"] == usual]
        row = min(weakest, key=lambda row: row["remaining"]["value"])
        note = f"{row['attack']}, {row['model']} ({percent_span(row['remaining'])})"
        tiles.append(Tile("Shield left after the strongest attack", percent(row["remaining"]["value"]), note))
    return tiles


def _pictures_section(pictures: Sequence[ShownPicture]) -> Section | None:
    if not pictures:
        return None
    lead = "Move the line, with a pointer or the arrow keys; choose what is on either side of it."
    figures = [_compare(picture) for picture in pictures]
    remark = Markup('<p class="note">{}</p>').format(
        "The pictures on this page are compressed once more (WebP), and large ones are shrunk: to look at, "
        "not to measure."
    )
    return Section("pictures", "Pictures", lead, grid(figures) + remark)


def _compare(picture: ShownPicture) -> Markup:
    losses = [f"{version} {number(loss, 1)} dB" for version, loss in picture.psnr.items()]
    caption = ", ".join(
        [f"{picture.width} × {picture.height}", f"quality {picture.quality}", f"{picture.bpp:.2f} bpp", *losses]
    )
    right = "protected" if "protected" in picture.versions else list(picture.versions)[-1]
    return fragment(
        "compare.html",
        name=picture.name,
        caption=caption,
        width=picture.width,
        height=picture.height,
        pictures=picture.versions,
        left=next(iter(picture.versions)),
        right=right,
    )


def _limits_section(results: Results, pictures: bool) -> Section:
    models = unique(
        row["model"] for row in [*read_rows(results), *((results.get("retrieval") or {}).get("retrieval", []))]
    )
    models = unique([*models, *(row["model"] for row in results.get("agreement") or [])])
    lines = [
        f"The shield was measured with {', '.join(models)}. About any other model this page says nothing."
        if models
        else "No model was asked what it reads: this page says nothing about the shield.",
        "The shield misleads models. People see the protected picture, and so does a model that was trained on "
        "protected pictures, or a decoder that was trained to undo the shield.",
    ]
    if not results.get("attacks"):
        lines.append(
            "What happens to the shield when a picture is compressed again, resized or blurred was not measured."
        )
    else:
        lines.append(
            "The attacks are those that everyday handling brings, not the best that a determined attacker finds."
        )
    lines.append(
        "Intervals say how far a figure would move with another draw of pictures like these. They say nothing about "
        "pictures of another kind."
    )
    counts = [row["pictures"] for rows in _all_rows(results) for row in rows]
    if counts and min(counts) < FEW_PICTURES:
        lines.append(f"Some figures come from {plural(min(counts), 'picture')} alone: their intervals are rough.")
    if failures := results.get("failures"):
        lines.append(f"{plural(len(failures), 'picture')} could not be read and is left out: {'; '.join(failures)}.")
    items = Markup("").join(Markup("<li>{}</li>").format(line) for line in lines)
    return Section("limits", "Limits", "", Markup('<ul class="plain">{}</ul>').format(items))


def _all_rows(results: Results) -> list[Sequence[Results]]:
    """The rows of every part that say how many pictures they come from."""
    parts = (("rate_distortion", "summaries"), ("retrieval", "retrieval"), ("attacks", "outcomes"))
    named = [(results.get(part) or {}).get(rows, []) for part, rows in parts]
    return [*named, read_rows(results), results.get("agreement") or []]


def _method_section(results: Results) -> Section:
    """Everything that is needed to measure the same again."""
    about = results["about"]
    # Words stay whole where the line is broken, so that no option loses its dashes.
    words = Markup(" ").join(Markup("<span>{}</span>").format(word) for word in about.get("command", "").split(" "))
    command = Markup("<pre>{}</pre>").format(words) if about.get("command") else Markup("")
    facts = {
        "psic": about.get("psic"),
        "hash of what measures": about.get("code"),
        "model": about["model"],
        "weights": about.get("weights_sha256") or about.get("weights_hash"),
        "device": " ".join(str(about[key]) for key in ("device", "precision") if about.get(key)),
        "qualities": ", ".join(str(quality) for quality in about.get("qualities", [])),
        "Python": about.get("python"),
        "platform": about.get("platform"),
        **about.get("packages", {"torch": about.get("torch")}),
    }
    terms = Markup("").join(
        Markup("<dt>{}</dt><dd>{}</dd>").format(name, value) for name, value in facts.items() if value
    )
    models = [row for key in ("vlps", "unseen") for row in about.get(key, []) if isinstance(row, Mapping)]
    rows: list[Row] = [
        [row["name"], row.get("spec") or NOTHING, Figure(row.get("sha256") or NOTHING)] for row in models
    ]
    whole = table("Models that were asked", ["name", "from", "SHA-256 of the weights"], rows, words=3) if rows else ""
    body = command + Markup('<dl class="facts">{}</dl>\n{}').format(terms, whole)
    return Section("method", "How to measure the same again", "", body)
