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
from psic_cli.networks.network import NetworkConfig

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
    batch: int = 8
    crop: int = 256  # pixels
    learning_rate: float = 1e-3
    warm_up: int = 200  # steps
    clip_norm: float = 1.0


@dataclass(frozen=True)
class ProtectionConfig(StageConfig):
    """The second stage: encoder and entropy network are frozen, the synthesis and CLTG learn the conditions."""

    vlps: list[str] = field(default_factory=list)  # the surrogates, e.g. "witness:lite0"; see psic_cli/vlp
    budget_db: float = 1.2  # what the protected version may lose against the full one, PSNR
    private_share: float = 0.10  # of the bits, sealed
    learning_rate: float = 3e-4
    warm_up: int = 100
    forced_weight: float = 0.1  # of the shield on the forced decode: full condition, sealed latents unknown


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run."""

    name: str = "psic-base"
    start_from: str = ""  # folder of an exported model to go on from, instead of random numbers
    licence: str = "Apache-2.0"
    seed: int = 1
    lambda_low: float = 0.0016  # on 255^2 MSE, at level 0
    lambda_high: float = 0.05  # at the top level
    validate_every: int = 500  # steps
    save_every: int = 250  # steps
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    compression: StageConfig = field(default_factory=StageConfig)
    protection: ProtectionConfig = field(default_factory=ProtectionConfig)


def load_config(path: Path) -> TrainingConfig:
    """Read a TOML file. InputError if it cannot be read or has a key that does not exist."""
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the configuration: {error}") from error
    return _build(TrainingConfig, values, str(path))


_KINDS: dict[str, Any] = {"int": int, "float": (int, float), "str": str, "list[str]": list}  # all others are tables


def _build(cls: Any, values: dict[str, Any], where: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(cls)}
    for key in values:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}", hint=f"known keys: {', '.join(known)}")
        kind = _KINDS.get(str(known[key].type), dict)
        if not isinstance(values[key], kind) or isinstance(values[key], bool):
            raise InputError(f"{where}: {key} must be of the kind {known[key].type}, not {values[key]!r}")
    nested = {"data": DataConfig, "network": NetworkConfig, "compression": StageConfig, "protection": ProtectionConfig}
    arguments = {
        key: _build(nested[key], value, f"{where} [{key}]") if isinstance(value, dict) and key in nested else value
        for key, value in values.items()
    }
    return cls(**arguments)
