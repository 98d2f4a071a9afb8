"""How fast the first stage of training is, here and in another checkout of psic, by turns, and what its network costs.

    python -m psic_cli.benchmark.training configs/psic-base.toml --beside ../psic-before

Each turn is a `psic train` of its own. It is timed between two lines of its log, so that neither reading pictures nor
compiling counts. Both checkouts train the network, the batches and the crops that the other one's file of the same name
describes: another network would be another speed. Without --beside only this checkout is measured, and its own network.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from psic_cli.benchmark.cost import network_cost
from psic_cli.networks.config import NetworkConfig
from psic_cli.shell.terminal import terminal
from psic_cli.training.config import read_toml

ROOT = Path(__file__).parent.parent.parent
LOGGED = 50  # steps between two lines of a log
LATER = ("rounding", "protection", "conditions")  # stages after the first, whatever a checkout calls them
STAGE = ("batch", "crop", "learning_rate", "warm_up", "optimiser", "average")  # keys that all checkouts have
PIXELS = 256 * 256  # that are called one crop, whatever sizes are trained on


def settings(values: dict[str, Any], network: dict[str, Any], stage: dict[str, Any], steps: int) -> dict[str, Any]:
    """A configuration that trains the first stage alone for so many steps.

    values: of a checkout's own file. network, stage: tables to measure with.
    """
    first = {key: stage[key] for key in STAGE if key in stage}
    kept = {key: value for key, value in values.items() if not isinstance(value, dict)}
    kept |= {"validate_every": 10**6, "save_every": 10**6}
    later = {name: {"steps": 0} for name in LATER if name in values}
    return kept | {"data": values["data"], "network": network, "compression": first | {"steps": steps}} | later


def to_toml(values: dict[str, Any]) -> str:
    """Tables of numbers, texts, switches and lists of them, one level deep; JSON writes those as TOML does."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for name, table in values.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def crops_per_second(checkout: Path, config: dict[str, Any], threads: int) -> float:
    """Of one run, after its first lines of the log. RuntimeError if it fails."""
    stage = config["compression"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
        command = [sys.executable, "-m", "psic_cli", "train", str(folder / "config.toml"), "-o", str(folder / "run")]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        log = folder / "run" / "log.jsonl"
        if not log.exists():
            raise RuntimeError(f"{checkout} cannot train: {done.stderr.strip()}")
        lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    paces = {line["step"]: line["step"] * line["seconds_per_step"] for line in lines if "seconds_per_step" in line}
    seconds = paces[max(paces)] - paces[LOGGED]
    return (max(paces) - LOGGED) * stage["batch"] * stage["crop"] ** 2 / PIXELS / seconds


def compare(config: Path, beside: Path | None, steps: int, turns: int, threads: int) -> str:
    """Measure by turns; returns what a person wants to know, in lines."""
    ours = read_toml(config)
    theirs = ours if beside is None else read_toml(beside / config)
    known = {field.name for field in dataclasses.fields(NetworkConfig)}
    network, stage = theirs["network"], theirs["compression"]
    same = settings(ours, {key: value for key, value in network.items() if key in known}, stage, steps)
    checkouts = {"here": (ROOT, same)}
    if beside is not None:
        checkouts["beside"] = (beside.resolve(), settings(theirs, network, stage, steps))
    found: dict[str, list[float]] = {name: [] for name in checkouts}
    for _ in range(turns):
        for name, (checkout, values) in checkouts.items():
            found[name].append(crops_per_second(checkout, values, threads))
    cost = network_cost(NetworkConfig(**ours["network"]))
    lines = [
        f"{config}: {cost.encode_kmac:.1f} kMAC/px to encode, {cost.decode_kmac:.1f} to decode, "
        f"{cost.parameters / 1e6:.1f} M parameters",
        f"torch {torch.__version__}, {threads} threads, {platform.machine()}, {stage['crop']} px, {steps} steps a turn",
        *(
            f"{name:>6}: {statistics.median(rates):6.2f} crops/s  ({', '.join(f'{rate:.2f}' for rate in rates)})"
            for name, rates in found.items()
        ),
    ]
    if beside is not None:
        ratios = [here / there for here, there in zip(found["here"], found["beside"], strict=True)]
        lines.append(f" ratio: {statistics.median(ratios):6.2f}          ({', '.join(f'{r:.2f}' for r in ratios)})")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", type=Path, help="relative to the checkout")
    parser.add_argument("--beside", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument("--steps", type=int, default=3 * LOGGED, help="of each turn; those after the first 50 count")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args(arguments)
    terminal.say(compare(chosen.config, chosen.beside, chosen.steps, chosen.turns, chosen.threads))


if __name__ == "__main__":
    main()
