"""The shipped model's figures where people read them: docs/results.md, README.md and the model's card, from one source.

`python -m psic_cli.evaluation.publish FOLDER`, in the root of a checkout, reads what the commands in `COMMANDS` wrote
into FOLDER, and writes the parts of these files that are figures. What is not there counts as not measured.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psic_cli import zoo
from psic_cli.errors import InputError
from psic_cli.shell import streams
from psic_cli.shell.markdown import table

_MODELS = "--vlp witness:lite0 --vlp witness:lite2"
_QUALITIES = "-q 1,25,50,75,100"
COMMANDS = {  # file -> what measures it, in the folder of the data
    "kodak": f"psic evaluate kodak/ {_QUALITIES} --peers jpeg,webp,avif,jpeg2000",
    "kodak-effort-0": f"psic evaluate kodak/ {_QUALITIES} --effort 0",
    "kodak-half": f"psic evaluate kodak/ {_QUALITIES} --strength 0.5",
    "imagenet": "psic evaluate --labels imagenet_val/labels.csv --kinds imagenet --attacks jpeg75,resize,blur,noise "
    f"{_MODELS} -q 50",
    "machine": "psic evaluate --labels imagenet_val/labels.csv --limit 100 --vlp witness:lite2 -q 1",
    "retrieval": f"psic evaluate --captions flickr8k/captions.jsonl {_MODELS} -q 50 --limit 300",
    "large": f"psic evaluate --agreement large/ --limit 32 --sides 256,1280 {_MODELS} -q 50",
}
PAGES, MODEL = (Path("docs/results.md"), Path("README.md")), Path("models/psic-base")
# What is written anew stands between <!-- NAME --> and <!-- end -->; all else is people's.
PART = re.compile(r"(<!-- (?!end )([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
WEIGHTS = re.compile(r"(?<=`psic-base` with weights `)[0-9a-f]+(?=`)")
SHOWN = ("full", "protected")  # versions whose pictures are compared
NOT_MEASURED = "Not measured with these weights.\n"
PEERS = ("jpeg", "webp", "avif", "jpeg2000", "bmshj2018-hyperprior (published)")  # that the README names

Row = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """Everything that is published. found: by the names of COMMANDS, what `psic evaluate -o NAME.json` wrote.

    weights: what all of it was measured with.
    """

    found: dict[str, Row]
    weights: str

    @property
    def summaries(self) -> list[Row]:
        """Size and quality on Kodak, a row for each quality."""
        return list(self.found["kodak"]["rate_distortion"]["summaries"])

    @property
    def bd(self) -> list[Row]:
        """BD-rates, a row for each anchor."""
        return list(self.found["kodak"]["rate_distortion"]["bd_rates"])

    @property
    def zero_shot(self) -> list[Row]:
        """A row for each model and version."""
        return list(self.found["imagenet"]["classification"]["zero_shot"])

    def classified(self, name: str) -> dict[str, Row]:
        """Size and quality of the pictures that a command had classified, by version."""
        return {row["version"]: row for row in self.found[name]["classification"]["versions"]}

    @property
    def machine(self) -> list[Row]:
        """Machine against full version: at the lowest quality first."""
        return [row for name in ("machine", "imagenet") for row in self.found[name]["classification"]["machine"]]


def read(folder: Path, card: zoo.Card) -> Figures:
    """The files in `folder`, of those COMMANDS that have one. InputError for one of another form or of other weights
    than the card's, and if there are none.
    """
    expected = card.weights_hash.hex()
    found = {}
    for name, command in COMMANDS.items():
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        try:
            found[name] = json.loads(path.read_text("utf-8"))
            weights = found[name]["about"]["weights_hash"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not results of psic: {error}", hint=f"{command} -o {path.name}") from error
        if weights != expected:
            raise InputError(f"{path} was measured with weights {weights}, {card.path} has {expected}")
    if not found:
        raise InputError(f"there are no results in {folder}", hint=f"{COMMANDS['kodak']} -o kodak.json makes the first")
    return Figures(found, expected)


def number(interval: Row, digits: int = 3) -> str:
    """The value and its interval."""
    return f"{interval['value']:.{digits}f} ({interval['low']:.{digits}f}..{interval['high']:.{digits}f})"


def percent(interval: Row | None) -> str:
    """A share; a dash for what is unknown."""
    return "-" if interval is None else f"{100 * interval['value']:.0f} %"


def share(interval: Row | None) -> str:
    """A share and its interval; a dash for what is unknown."""
    around = "" if interval is None else f" ({100 * interval['low']:.0f}..{100 * interval['high']:.0f})"
    return percent(interval) + around


def rates(figures: Figures) -> str:
    rows = []
    for row in figures.summaries:
        psnr, similarity = ([row[kind][version]["value"] for version in SHOWN] for kind in ("psnr", "ms_ssim"))
        cells = [str(row["quality"]), f"{row['bpp']['value']:.3f}", *(f"{value:.2f}" for value in psnr)]
        rows.append([*cells, *(f"{value:.4f}" for value in similarity), f"{psnr[0] - psnr[1]:.2f}"])
    measures = [f"{kind} {version}" for kind in ("PSNR", "MS-SSIM") for version in SHOWN]
    return table(("quality", "bpp", *measures, "protected loses, dB"), rows)


def half(figures: Figures) -> str:
    """What half the strength costs of what the whole one does."""
    halves = figures.found["kodak-half"]["rate_distortion"]["summaries"]
    rows = []
    for whole, weaker in zip(figures.summaries, halves, strict=True):
        full, least = (whole["psnr"][version]["value"] for version in SHOWN)
        between = weaker["psnr"]["protected"]["value"]
        share_lost = f"{100 * (full - between) / (full - least):.0f} %"
        rows.append([str(whole["quality"]), *(f"{value:.2f}" for value in (full, between, least)), share_lost])
    return table(("quality", "PSNR full", "at strength 0.5", "at strength 1", "share of the loss at 0.5"), rows)


def bd_rates(figures: Figures) -> str:
    rows = [
        [row["anchor"], number(row["percent"], 1), f"{row['low_db']:.1f}..{row['high_db']:.1f} dB"]
        for row in figures.bd
    ]
    return table(("against", "BD-rate, %", "over PSNR"), rows)


def peers(figures: Figures) -> str:
    """The BD-rates that the README names, as a line."""
    found = {row["anchor"]: row["percent"]["value"] for row in figures.bd}
    return ", ".join(f"{found[name]:+.1f} % against {name}" for name in PEERS if name in found) + ".\n"


def efforts(figures: Figures) -> str:
    """What the search of the default effort changes, against none. What it takes is for `psic bench` to say: here other
    programs may have kept the machine busy.
    """
    least = figures.found["kodak-effort-0"]["rate_distortion"]["summaries"]
    rows = []
    for usual, least_ in zip(figures.summaries, least, strict=True):
        pair = (least_, usual)
        cells = [str(usual["quality"]), *(f"{row['bpp']['value']:.3f}" for row in pair)]
        rows.append([*cells, *(f"{row['psnr'][version]['value']:.2f}" for version in SHOWN for row in pair)])
    measures = ("bpp", "PSNR full", "PSNR protected")
    return table(("quality", *(f"{what}{more}" for what in measures for more in (" at effort 0", ""))), rows)


def classification(figures: Figures) -> str:
    return _accuracies(figures.zero_shot)


def kinds(figures: Figures) -> str:
    """Right answers among kinds."""
    found = figures.found["imagenet"]["classification"]["kinds"]
    among = f"among {len(found['names'])} kinds, chance {100 * found['chance']:.0f} %"
    return _accuracies(found["zero_shot"], among)


def _accuracies(found: list[Row], among: str = "") -> str:
    """Top-1 by version and model, after how many pictures they are of."""
    models = list(dict.fromkeys(row["model"] for row in found))
    rows: dict[str, list[str]] = {}
    for row in found:  # one model after the other
        kept = "" if row["version"] == "original" else f" ({percent(row['kept'])})"
        cells = rows.setdefault(row["version"], [row["version"]])
        cells += [f"{row['top1']['value']:.3f}{kept}", percent(row["attack_success"])]
    pictures = " ".join(f"{found[0]['pictures']} pictures {among}".split())
    whole = table(["version", *(cell for model in models for cell in (model, "ASR"))], rows.values())
    return f"{pictures}.\n\n{whole}"


def small(figures: Figures) -> str:
    """What the pictures that are classified cost, and lose."""
    rows = []
    for name in ("machine", "imagenet"):  # the lowest quality, and the usual one
        found = figures.classified(name)
        full, protected = (found[version]["psnr"]["value"] for version in SHOWN)
        cells = [str(found["full"]["quality"]), f"{found['full']['bpp']['value']:.3f}"]
        rows.append([*cells, *(f"{value:.2f}" for value in (full, protected, full - protected))])
    return table(("quality", "bpp", "PSNR full", "PSNR protected", "protected loses, dB"), rows)


def machine(figures: Figures) -> str:
    rows = []
    for row in figures.machine:
        cells = [row["model"], str(row["quality"])]
        rows.append([*cells, *(f"{row[key]['value']:.3f}" for key in ("bpp", "full", "machine")), number(row["gain"])])
    return table(("model", "quality", "bpp", "full", "machine", "gain"), rows)


def retrieval(figures: Figures) -> str:
    found, directions = figures.found["retrieval"]["retrieval"]["retrieval"], ("image_to_text", "text_to_image")
    rows = []
    for row in found:
        cells = [row["model"], row["version"]]
        for direction in directions:
            first, *others = row[direction].values()
            cells += [number(first), *(f"{other['value']:.3f}" for other in others)]
        rows.append([*cells, *(percent(row[f"attack_success_{direction}"]) for direction in directions)])
    columns = ["model", "version"]
    for direction in directions:
        first, *others = (depth.replace("r", "R@") for depth in found[0][direction])
        columns += [f"{direction.replace('_', ' ')} {first}", *others]
    return table([*columns, "ASR to text", "ASR to image"], rows)


def attacks(figures: Figures) -> str:
    found = figures.found["imagenet"]["attacks"]["outcomes"]
    rows: dict[str, list[str]] = {}
    for row in found:
        cells = rows.setdefault(row["attack"], [row["attack"]])
        cells += [f"{row[key]['value']:.3f}" for key in ("original", "protected")]
        cells.append(share(row["remaining"]))
    models = dict.fromkeys(row["model"] for row in found)
    columns = [cell for model in models for cell in (f"{model} original", "protected", "drop that remains")]
    return f"{found[0]['pictures']} pictures.\n\n{table(['attack', *columns], rows.values())}"


def agreement(figures: Figures) -> str:
    found = figures.found["large"]["agreement"]
    rows: dict[str, list[str]] = {}
    places: dict[str, None] = {}
    for row in found:
        if row["version"] != "machine":  # which has the full version's purpose
            places[f"{row['model']}, {row['side']} px"] = None
            rows.setdefault(row["version"], [row["version"]]).append(share(row["agreement"]))
    return f"{found[0]['pictures']} pictures.\n\n{table(['version', *places], rows.values())}"


def measured(figures: Figures) -> Row:
    """What the card tells of all that."""
    told: Row = {"weights_hash": figures.weights}
    if "kodak" in figures.found:
        by_quality = [
            {
                "quality": row["quality"],
                "bpp": round(row["bpp"]["value"], 3),
                **{f"psnr_{version}": round(row["psnr"][version]["value"], 2) for version in SHOWN},
                **{f"ms_ssim_{version}": round(row["ms_ssim"][version]["value"], 4) for version in SHOWN},
            }
            for row in figures.summaries
        ]
        told["kodak"] = {
            "command": COMMANDS["kodak"],
            "pictures": figures.summaries[0]["pictures"],
            "by_quality": by_quality,
            "bd_rate_percent": {row["anchor"]: round(row["percent"]["value"], 1) for row in figures.bd},
        }
    if "machine" in figures.found:
        gain = figures.found["machine"]["classification"]["machine"][0]
        told["machine_version_top1"] = {
            "command": COMMANDS["machine"],
            **{version: round(gain[version]["value"], 3) for version in ("full", "machine")},
        }
    if "imagenet" in figures.found:
        top1: Row = {}
        for row in figures.zero_shot:
            top1.setdefault(row["model"], {})[row["version"]] = round(row["top1"]["value"], 3)
        told["imagenet_val_zero_shot_top1"] = {
            "command": COMMANDS["imagenet"],
            "quality": figures.zero_shot[-1]["quality"],
            "pictures": figures.zero_shot[0]["pictures"],
            **top1,
        }
    return told


PARTS: dict[str, tuple[tuple[str, ...], Callable[[Figures], str]]] = {  # by name, the commands that each needs
    "rates": (("kodak",), rates),
    "efforts": (("kodak", "kodak-effort-0"), efforts),
    "half": (("kodak", "kodak-half"), half),
    "bd-rates": (("kodak",), bd_rates),
    "peers": (("kodak",), peers),
    "classification": (("imagenet",), classification),
    "kinds": (("imagenet",), kinds),
    "small": (("machine", "imagenet"), small),
    "machine": (("machine", "imagenet"), machine),
    "retrieval": (("retrieval",), retrieval),
    "attacks": (("imagenet",), attacks),
    "agreement": (("large",), agreement),
}


def renewed(page: str, figures: Figures) -> str:
    """A page with the figures of all its parts, where they are measured. InputError for a part that nobody knows."""

    def write(found: re.Match[str]) -> str:
        if found[2] not in PARTS:
            raise InputError(f"there are no figures called {found[2]!r}", hint=f"known: {', '.join(PARTS)}")
        needed, write_part = PARTS[found[2]]
        is_there = figures.found.keys() >= set(needed)
        return found[1] + (write_part(figures) if is_there else NOT_MEASURED) + found[3]

    return WEIGHTS.sub(figures.weights, PART.sub(write, page))


def publish(folder: Path, root: Path) -> None:
    """Write the figures into the pages and the card of a checkout. InputError as in `read` and `renewed`."""
    card = zoo.read_card(root / MODEL)
    figures = read(folder, card)
    written = {root / page: renewed((root / page).read_text("utf-8"), figures) for page in PAGES}
    written[card.path / zoo.CARD_FILE] = json.dumps({**card.data, "measured": measured(figures)}, indent=2) + "\n"
    for path, text in written.items():
        streams.write_file(path, text.encode(), overwrite=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="with the results, NAME.json each")
    publish(parser.parse_args(arguments).folder, Path())


if __name__ == "__main__":
    main()
