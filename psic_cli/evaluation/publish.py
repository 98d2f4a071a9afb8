"""The shipped model's figures where people read them: docs/results.md, README.md and the model's card, from one source.

`python -m psic_cli.evaluation.publish FOLDER`, in the root of a checkout, reads what the commands in `COMMANDS` wrote
into FOLDER, and writes the parts of these files that are figures.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from psic_cli import zoo
from psic_cli.errors import InputError
from psic_cli.shell import streams
from psic_cli.shell.markdown import table

_MODELS = "--vlp witness:lite0 --vlp witness:lite2"
COMMANDS = {  # file -> what measures it, in the folder of the data
    "kodak": "psic evaluate kodak/ -q 1,25,50,75,100 --peers jpeg,webp,avif,jpeg2000",
    "imagenet": f"psic evaluate --labels imagenet_val/labels.csv {_MODELS} -q 50",
    "machine": "psic evaluate --labels imagenet_val/labels.csv --vlp witness:lite2 -q 1",
    "retrieval": f"psic evaluate --captions flickr8k/captions.jsonl {_MODELS} -q 50 --limit 300",
    "attacks": f"psic evaluate --labels imagenet_val/labels.csv {_MODELS} -q 50 "
    "--attacks jpeg75,resize,blur,noise,interpolated50 --limit 200",
    "large": f"psic evaluate --agreement large/ --sides 256,1280 {_MODELS} -q 50",
    "half-kodak": "psic evaluate kodak/ -q 1,25,50,75,100 --strength 0.5",
    "hardened-kodak": "psic evaluate kodak/ -q 25,50,75 --hardened",
    "hardened-imagenet": f"psic evaluate --labels imagenet_val/labels.csv {_MODELS} -q 50 --hardened",
    "hardened-large": f"psic evaluate --agreement large/ --sides 256,1280 {_MODELS} -q 50 --hardened",
}
PAGES, MODEL = (Path("docs/results.md"), Path("README.md")), Path("models/psic-base")
# What is written anew stands between <!-- NAME --> and <!-- end -->; all else is people's.
PART = re.compile(r"(<!-- (?!end )([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
WEIGHTS = re.compile(r"(?<=`psic-base` with weights `)[0-9a-f]+(?=`)")
SHOWN = ("full", "protected")  # versions whose pictures are compared
PEERS = ("jpeg", "webp", "avif", "jpeg2000", "bmshj2018-hyperprior (published)")  # that the README names

Row = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """Everything that is published. found: by the names of COMMANDS, what `psic evaluate -o NAME.json` wrote."""

    found: dict[str, Row]

    @property
    def weights(self) -> str:
        return str(self.found["kodak"]["about"]["weights_hash"])

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
    def models(self) -> list[str]:
        """In the order in which they were asked."""
        return list(dict.fromkeys(row["model"] for row in self.zero_shot))

    @property
    def machine(self) -> list[Row]:
        """Machine against full version: at the lowest quality first."""
        return [row for name in ("machine", "imagenet") for row in self.found[name]["classification"]["machine"]]


def read(folder: Path, card: zoo.Card) -> Figures:
    """The files of all COMMANDS in `folder`. InputError if one is missing or was measured with other weights than the
    card's.
    """
    expected = card.weights_hash.hex()
    found = {}
    for name, command in COMMANDS.items():
        path = folder / f"{name}.json"
        try:
            found[name] = json.loads(path.read_text("utf-8"))
            weights = found[name]["about"]["weights_hash"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not results of psic: {error}", hint=f"{command} -o {path.name}") from error
        if weights != expected:
            raise InputError(f"{path} was measured with weights {weights}, {card.path} has {expected}")
    return Figures(found)


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
    halves = figures.found["half-kodak"]["rate_distortion"]["summaries"]
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


def classification(figures: Figures, measured_by: str = "imagenet") -> str:
    rows: dict[str, list[str]] = {}
    for row in figures.found[measured_by]["classification"]["zero_shot"]:  # one model after the other
        kept = "" if row["version"] == "original" else f" ({percent(row['kept'])})"
        cells = rows.setdefault(row["version"], [row["version"]])
        cells += [f"{row['top1']['value']:.3f}{kept}", percent(row["attack_success"])]
    return table(["version", *(cell for model in figures.models for cell in (model, "ASR"))], rows.values())


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
    rows: dict[str, list[str]] = {}
    for row in figures.found["attacks"]["attacks"]["outcomes"]:
        cells = rows.setdefault(row["attack"], [row["attack"]])
        cells += [f"{row[key]['value']:.3f}" for key in ("original", "protected")]
        cells.append(share(row["remaining"]))
    columns = [cell for model in figures.models for cell in (f"{model} original", "protected", "drop that remains")]
    return table(["attack", *columns], rows.values())


def agreement(figures: Figures, measured_by: str = "large") -> str:
    rows: dict[str, list[str]] = {}
    places: dict[str, None] = {}
    for row in figures.found[measured_by]["agreement"]:
        if row["version"] in SHOWN:
            places[f"{row['model']}, {row['side']} px"] = None
            rows.setdefault(row["version"], [row["version"]]).append(share(row["agreement"]))
    return table(["version", *places], rows.values())


def hardened_sizes(figures: Figures) -> str:
    """What hardened files cost, beside ordinary ones, and what the protected picture in them is like."""

    def row(pictures: str, hardened: Row, ordinary: Row, psnr: Row) -> list[str]:
        bpp, usual = hardened["bpp"]["value"], ordinary["bpp"]["value"]
        cells = [pictures, str(hardened["quality"]), f"{bpp:.3f}", f"{100 * (bpp / usual - 1):+.0f} %"]
        return [*cells, *(f"{psnr[version]['value']:.2f}" for version in SHOWN)]

    usual = {summary["quality"]: summary for summary in figures.summaries}
    kodak = figures.found["hardened-kodak"]["rate_distortion"]["summaries"]
    rows = [row("Kodak", summary, usual[summary["quality"]], summary["psnr"]) for summary in kodak]
    small = figures.classified("hardened-imagenet")
    psnr = {version: small[version]["psnr"] for version in SHOWN}
    rows.append(row("ImageNet, 227 px", small["full"], figures.classified("imagenet")["full"], psnr))
    columns = ("pictures", "quality", "bpp", "against ordinary files", *(f"PSNR {version}" for version in SHOWN))
    return table(columns, rows)


def measured(figures: Figures) -> Row:
    """What the card tells of all that."""
    by_quality = [
        {
            "quality": row["quality"],
            "bpp": round(row["bpp"]["value"], 3),
            **{f"psnr_{version}": round(row["psnr"][version]["value"], 2) for version in SHOWN},
            **{f"ms_ssim_{version}": round(row["ms_ssim"][version]["value"], 4) for version in SHOWN},
        }
        for row in figures.summaries
    ]
    top1: Row = {model: {} for model in figures.models}
    for row in figures.zero_shot:
        top1[row["model"]][row["version"]] = round(row["top1"]["value"], 3)
    return {
        "weights_hash": figures.weights,
        "kodak": {
            "command": COMMANDS["kodak"],
            "pictures": figures.summaries[0]["pictures"],
            "by_quality": by_quality,
            "bd_rate_percent": {row["anchor"]: round(row["percent"]["value"], 1) for row in figures.bd},
        },
        "machine_version_top1": {
            "command": COMMANDS["machine"],
            **{version: round(figures.machine[0][version]["value"], 3) for version in ("full", "machine")},
        },
        "imagenet_val_zero_shot_top1": {
            "command": COMMANDS["imagenet"],
            "quality": figures.zero_shot[-1]["quality"],
            "pictures": figures.zero_shot[0]["pictures"],
            **top1,
        },
        "hardened_files": {
            "command": COMMANDS["hardened-imagenet"],
            **{
                row["model"]: round(row["top1"]["value"], 3)
                for row in figures.found["hardened-imagenet"]["classification"]["zero_shot"]
                if row["version"] == "forced"
            },
        },
    }


PARTS: dict[str, Callable[[Figures], str]] = {
    "rates": rates,
    "half": half,
    "bd-rates": bd_rates,
    "peers": peers,
    "classification": classification,
    "small": small,
    "machine": machine,
    "retrieval": retrieval,
    "attacks": attacks,
    "agreement": agreement,
    "hardened-sizes": hardened_sizes,
    "hardened-classification": partial(classification, measured_by="hardened-imagenet"),
    "hardened-agreement": partial(agreement, measured_by="hardened-large"),
}


def renewed(page: str, figures: Figures) -> str:
    """A page with the figures of all its parts. InputError for a part that nobody knows."""

    def write(found: re.Match[str]) -> str:
        if found[2] not in PARTS:
            raise InputError(f"there are no figures called {found[2]!r}", hint=f"known: {', '.join(PARTS)}")
        return found[1] + PARTS[found[2]](figures) + found[3]

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
