"""One TOML file describes a training run; it is copied beside the result.

Unknown keys are errors, so that a typing mistake cannot silently train something else.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psic_cli.errors import InputError
from psic_cli.networks.config import KINDS as NETWORK_KINDS
from psic_cli.networks.config import NetworkConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures are; folders are searched recursively."""

    photos: list[str] = field(default_factory=list)  # for both stages, without captions
    pairs: str = ""  # captions.jsonl: one {"split", "image", "captions"} per line, images relative to the file
    large: list[str] = field(default_factory=list)  # photos of real size, for what happens at the scale of a camera
    drawn: float = 0.0  # share of the crops that are text, screenshots, charts and line art, made by code
    workers: int = 0  # processes beside training that cut out pictures; 0: training does


@dataclass(frozen=True)
class StageConfig:
    """A stage; those that train all that decides rate and distortion need no more."""

    steps: int = 10000
    batch: int = 8  # pictures, in each process; of the conditions as many pixels as so many of 224 x 224 have
    crop: int = 256  # pixels; the conditions take whole pictures
    learning_rate: float = 1e-3
    warm_up: int = 200  # steps
    decay: float = 1.0  # share of the steps, at the end, in which the rate falls; before it the number may be changed
    clip_norm: float = 1.0
    # "muon" for the matrices, with adamw for the rest; or "adamw" for all. torch's Muon multiplies in bfloat16: where
    # the hardware has none, its step takes twice as long as all the rest
    optimiser: str = "adamw"
    average: float = 0.0  # decay of the moving average of the weights, e.g. 0.999; 0: none


@dataclass(frozen=True)
class ConditionsConfig(StageConfig):
    """The last stage: all but CLTG is frozen, which learns what the conditions change in the synthesis."""

    vlps: list[str] = field(default_factory=list)  # the surrogates, e.g. "witness:lite0"; see psic_cli/vlp
    budget_db: float = 0.5  # what the whole of a shield may lose against the full version, PSNR
    judges: list[str] = field(default_factory=list)  # only measured in validation, never trained against
    shield: str = "uaeo"  # what misleads: "cosine" to the original's embedding, or "uaeo": that and the captions
    uaeo_weight: float = 0.5  # of the captions, against the cosine
    surrogates_per_step: int = 0  # drawn anew in each step, to save time; 0: all
    objective: str = "budget"  # how a condition's aim and its distortion are weighed: see multi_objective.py
    # Of the distortion: what budgets begin with, each finds its own in hundreds of steps; and where the objective is
    # "fixed"
    budget_weight: float = 4.0
    learning_rate: float = 4e-4
    warm_up: int = 30
    scale_condition: bool = True  # CLTG is told how large the picture is


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run."""

    name: str = "psic-base"
    start_from: str = ""  # folder of an exported model to finetune; its sizes take the place of [network]
    licence: str = "Apache-2.0"
    seed: int = 1
    lambda_low: float = 0.0008  # on 255^2 MSE, at level 0
    lambda_high: float = 0.08  # at the top level
    validate_every: int = 500  # steps
    save_every: int = 250  # steps
    compile: bool = False  # the first stages' loss, by torch.compile: slow to start, then faster
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    compression: StageConfig = field(default_factory=StageConfig)
    rounding: StageConfig = field(default_factory=lambda: StageConfig(steps=0))
    conditions: ConditionsConfig = field(default_factory=ConditionsConfig)


def load_config(*paths: Path) -> TrainingConfig:
    """Read a TOML file, and others whose keys replace its own. InputError if one cannot be read or has a key that does
    not exist.
    """
    values: dict[str, Any] = {}
    for path in paths:
        found = read_toml(path)
        _build(TrainingConfig, found, str(path))  # so that an error names the file it is in
        for key, value in found.items():
            both = isinstance(value, dict) and isinstance(values.get(key), dict)
            values[key] = {**values[key], **value} if both else value
    built: TrainingConfig = _build(TrainingConfig, values, str(paths[0]))
    return built


def read_toml(path: Path) -> dict[str, Any]:
    """InputError if the file cannot be read."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the configuration: {error}") from error


_KINDS: dict[str, Any] = {"int": int, "float": (int, float), "str": str, "bool": bool, "list[str]": list}  # or a table
_CHOICES = {
    **NETWORK_KINDS,
    "optimiser": ("muon", "adamw"),
    "shield": ("uaeo", "cosine"),
    "objective": ("budget", "mgda", "fixed"),
}


def _build(cls: Any, values: dict[str, Any], where: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(cls)}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}", hint=f"known keys: {', '.join(known)}")
        kind = _KINDS.get(str(known[key].type), dict)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"{where}: {key} must be of the kind {known[key].type}, not {value!r}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise InputError(f"{where}: {key} cannot be {value!r}", hint=f"one of {', '.join(_CHOICES[key])}")
    nested = {
        "data": DataConfig,
        "network": NetworkConfig,
        "compression": StageConfig,
        "rounding": StageConfig,
        "conditions": ConditionsConfig,
    }
    arguments = {
        key: _build(nested[key], value, f"{where} [{key}]") if isinstance(value, dict) and key in nested else value
        for key, value in values.items()
    }
    return cls(**arguments)
