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
from psic_cli.networks.config import NetworkConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures are; folders are searched recursively."""

    photos: list[str] = field(default_factory=list)  # for compression, and unlabelled for protection
    pairs: str = ""  # captions.jsonl: one {"split", "image", "captions"} per line, images relative to the file
    large: list[str] = field(default_factory=list)  # photos of real size, for protection at the scale of a camera


@dataclass(frozen=True)
class StageConfig:
    """One of the two stages."""

    steps: int = 10000
    batch: int = 8  # pictures, in each process; in the second stage as many pixels as so many of 224 x 224 have
    crop: int = 256  # pixels; the second stage takes whole pictures
    learning_rate: float = 1e-3
    warm_up: int = 200  # steps
    clip_norm: float = 1.0
    optimiser: str = "muon"  # for the matrices, with adamw for the rest; or "adamw" for all
    average: float = 0.0  # decay of the moving average of the weights, e.g. 0.999; 0: none


@dataclass(frozen=True)
class CompressionConfig(StageConfig):
    """The first stage: rate and distortion of the full version."""

    # How far a full version that models read otherwise than the original counts as more distorted, for a cosine of 0:
    # 1 doubles its mean square error. The models are those of the protection. 0: they are not asked
    readable: float = 0.0


@dataclass(frozen=True)
class ProtectionConfig(StageConfig):
    """The second stage: encoder and entropy network are frozen, the synthesis and CLTG learn the conditions."""

    vlps: list[str] = field(default_factory=list)  # the surrogates, e.g. "witness:lite0"; see psic_cli/vlp
    budget_db: float = 1.5  # what the protected version may lose against the full one, PSNR
    judges: list[str] = field(default_factory=list)  # only measured in validation, never trained against
    shield: str = "uaeo"  # what misleads: "cosine" to the original's embedding, or "uaeo": that and the captions
    uaeo_weight: float = 0.5  # of the captions, against the cosine
    surrogates_per_step: int = 0  # drawn anew in each step, to save time; 0: all
    objective: str = "budget"  # how shield and distortion are weighed: see multi_objective.py
    # Of the protected version's distortion where the objective is "budget", to begin with: it finds its own, but takes
    # hundreds of steps, in which a network that keeps its budget already would forget how
    budget_weight: float = 4.0
    fixed_weight: float = 2.0  # of the protected version's distortion where the objective is "fixed"
    # Of the bits, sealed: the protected version lacks what they tell, and they keep nothing from a model
    private_share: float = 0.03
    learning_rate: float = 4e-4
    warm_up: int = 30
    # Muon moves all directions of a matrix alike: right for a synthesis of its own, but one that all versions share
    # loses the full version's with them, there AdamW is the better choice
    optimiser: str = "muon"
    # Of the shield on what can be had without the key under the full condition; without effect beside an own_synthesis
    forced_weight: float = 0.0
    # The full version's synthesis stays what compression has made of it, and all other versions share a copy of it;
    # without that all versions share one
    own_synthesis: bool = True
    guide: str = ""  # witness with an EfficientNet-Lite0 whose trunk the network's guide begins with; none: no guide
    afresh: bool = False  # forget what the network has learned of conditions: all versions start as the full one
    # For comparison only (configs/ablations/protection):
    scale_condition: bool = True  # CLTG is told how large the picture is


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run."""

    name: str = "psic-base"
    start_from: str = ""  # folder of an exported model to go on from; its sizes take the place of [network]
    licence: str = "Apache-2.0"
    seed: int = 1
    lambda_low: float = 0.0008  # on 255^2 MSE, at level 0
    lambda_high: float = 0.08  # at the top level
    validate_every: int = 500  # steps
    save_every: int = 250  # steps
    compile: bool = False  # the network's parts, by torch.compile: slow to start, then faster
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    compression: CompressionConfig = field(default_factory=CompressionConfig)
    protection: ProtectionConfig = field(default_factory=ProtectionConfig)


def load_config(*paths: Path) -> TrainingConfig:
    """Read a TOML file, and others whose keys replace its own. InputError if one cannot be read or has a key that does
    not exist.
    """
    values: dict[str, Any] = {}
    for path in paths:
        try:
            with open(path, "rb") as file:
                found = tomllib.load(file)
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot read the configuration: {error}") from error
        _build(TrainingConfig, found, str(path))  # so that an error names the file it is in
        for key, value in found.items():
            both = isinstance(value, dict) and isinstance(values.get(key), dict)
            values[key] = {**values[key], **value} if both else value
    built: TrainingConfig = _build(TrainingConfig, values, str(paths[0]))
    return built


_KINDS: dict[str, Any] = {"int": int, "float": (int, float), "str": str, "bool": bool, "list[str]": list}  # or a table
_CHOICES = {
    "optimiser": ("muon", "adamw"),
    "shield": ("uaeo", "cosine"),
    "objective": ("budget", "mgda", "mgda-parameters", "fixed"),
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
        "compression": CompressionConfig,
        "protection": ProtectionConfig,
    }
    arguments = {
        key: _build(nested[key], value, f"{where} [{key}]") if isinstance(value, dict) and key in nested else value
        for key, value in values.items()
    }
    return cls(**arguments)
