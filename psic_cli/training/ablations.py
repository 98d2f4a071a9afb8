"""One change at a time: trains every configuration of a folder on the same short budget, and writes a table.

    python -m psic_cli.training.ablations configs/ablations/conditions -o runs/ablations-conditions

and configs/ablations/compression alike. A folder has a base.toml, and files that each replace a few of its
keys. Every one is trained with several seeds. Every run has a folder of its own below -o, so a stopped command goes on
where it was. Figures are those of the runs' last validations, on pictures that training never sees: their mean over the
seeds, and how far the outermost are from it; a BD-rate is against the base's run with the same seed. The judges' models
are never trained against.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from psic_cli import zoo
from psic_cli.benchmark.cost import network_cost
from psic_cli.errors import InputError
from psic_cli.evaluation.bd_rate import Curve, bd_rate, check_available
from psic_cli.shell import markdown, streams
from psic_cli.shell.terminal import terminal
from psic_cli.training.compression import VALIDATION_LEVELS
from psic_cli.training.config import load_config

BASE = "base"
LEVEL = 32  # the quality level whose figures stand in the table
BD_RATE = "bd_rate"  # key of what `compare` finds, for each of VALIDATION_SIDES
# Heading, key in the validation, and how it is written.
COLUMNS = (
    ("BD-rate, %", BD_RATE, "{:+.1f}"),
    ("BD-rate at 640 px, %", f"{BD_RATE}_at_640", "{:+.1f}"),
    ("bpp", f"bpp{LEVEL}", "{:.3f}"),
    ("PSNR, dB", f"psnr{LEVEL}", "{:.2f}"),
    ("full, dB", f"full{LEVEL}_psnr", "{:.2f}"),
    ("protected, dB", f"protected{LEVEL}_psnr", "{:.2f}"),
    ("half strength, dB", f"half{LEVEL}_psnr", "{:.2f}"),
    ("same class, surrogates", f"protected{LEVEL}_agree", "{:.2f}"),
    ("same class, judges", f"protected{LEVEL}_agree_judges", "{:.2f}"),
    ("cosine, judges", f"protected{LEVEL}_cosine_judges", "{:.3f}"),
    ("same class at 1280 px, judges", f"protected{LEVEL}_agree_judges_at_1280", "{:.2f}"),
    ("machine, dB", f"machine{LEVEL}_psnr", "{:.2f}"),
    ("machine at level 8, same class, judges", "machine8_agree_judges", "{:.2f}"),
    ("encode, kMAC/px", "encode_kmac", "{:.1f}"),
    ("decode, kMAC/px", "decode_kmac", "{:.1f}"),
    ("s/step", "seconds_per_step", "{:.2f}"),
)


def variants(folder: Path) -> list[str]:
    """Names of the configurations, the base first. InputError if there is no base."""
    names = sorted(path.stem for path in folder.glob("*.toml"))
    if BASE not in names:
        raise InputError(f"{folder} has no {BASE}.toml")
    return [BASE, *(name for name in names if name != BASE)]


Rows = dict[str, dict[str, Any]]  # name of a configuration -> figures


def figures(log: Path) -> dict[str, Any]:
    """The last validation of a run, and how long its steps took."""
    found: dict[str, Any] = {}
    for line in log.read_text("utf-8").splitlines():
        entry = json.loads(line)
        found.update(entry.get("validation", {}))
        found.update({key: entry[key] for key in ("seconds_per_step",) if key in entry})
    return found


def compare(rows: Rows) -> None:
    """Add to each run of the first stage how much larger its files are than the base's at the same PSNR, in percent,
    for small pictures and for large ones.
    """
    for suffix in ("", "_at_640"):
        anchor = _curve(rows.get(BASE, {}), suffix)
        for found in rows.values():
            test = _curve(found, suffix)
            if anchor and test and (result := bd_rate(anchor, test)):
                found[BD_RATE + suffix] = result[0]


def _curve(found: dict[str, Any], suffix: str) -> Curve | None:
    """Bits and PSNR of a run's last validation, at the levels that it looked at."""
    bpp, psnr = ([found.get(f"{key}{level}{suffix}") for level in VALIDATION_LEVELS] for key in ("bpp", "psnr"))
    return None if None in bpp + psnr else Curve(np.array(bpp), np.array(psnr))


def table(of_seeds: list[Rows]) -> str:
    """Markdown; what a run did not measure is a dash, and what none did has no column."""
    names = list(dict.fromkeys(name for rows in of_seeds for name in rows))
    values = {
        (name, key): [rows[name][key] for rows in of_seeds if key in rows.get(name, {})]
        for name in names
        for _, key, _ in COLUMNS
    }
    columns = [column for column in COLUMNS if any(values[name, column[1]] for name in names)]
    cells = ([name, *(_cell(values[name, key], form) for _, key, form in columns)] for name in names)
    return markdown.table(["run", *(heading for heading, _, _ in columns)], cells)


def _cell(values: list[float], form: str) -> str:
    """Mean, and the largest distance from it where there is one."""
    if not values:
        return "-"
    mean = sum(values) / len(values)
    spread = form.replace("+", "").format(max(abs(value - mean) for value in values))
    return form.format(mean) + (f" ± {spread}" if spread.strip("0.") else "")


def run_all(folder: Path, output: Path, only: list[str], seeds: int, device: str) -> str:
    """Train what is not finished yet, and write output/table.md after each run. Returns the table."""
    from psic_cli.training.recipe import train

    of_seeds: list[Rows] = [{} for _ in range(seeds)]
    names = variants(folder)
    if load_config(folder / f"{BASE}.toml").compression.steps:
        check_available()  # of what only the first stage's runs are compared by
    for seed, rows in enumerate(of_seeds, start=1):
        for name in names:
            if only and name not in only:
                continue
            config = load_config(*dict.fromkeys([folder / f"{BASE}.toml", folder / f"{name}.toml"]))
            terminal.say(f"{name}, seed {seed}: {config.compression.steps + config.conditions.steps} steps")
            place = output / f"{name}-{seed}"
            train(replace(config, seed=seed), place, device)
            rows[name] = figures(place / "log.jsonl")
            if not config.start_from:
                cost = network_cost(config.network)
                rows[name] |= {"encode_kmac": cost.encode_kmac, "decode_kmac": cost.decode_kmac}
            compare(rows)
            streams.write_file(output / "table.md", table(of_seeds).encode(), overwrite=True)
    return table(of_seeds)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="repeatable; default: all")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    chosen = parser.parse_args(arguments)
    device = zoo.choose_device(chosen.device)
    terminal.say(run_all(chosen.folder, chosen.output, chosen.only, chosen.seeds, device))


if __name__ == "__main__":
    main()
