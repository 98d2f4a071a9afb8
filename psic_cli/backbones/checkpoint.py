"""A checkpoint of CompressAI's, read as plain tensors: no code in it is run.

Start with `read_checkpoint`. What cannot be used is a ModelError of one line.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from psic_cli.backbones.architectures import (
    CHANDELIER,
    CHEQUERBOARD,
    FACTORIZED,
    MEAN,
    MEAN_VBR,
    NAMES,
    OFFICIAL,
    SCALE,
    SCALE_VBR,
)
from psic_cli.errors import ModelError, UsageError

SERIAL = ("mbt2018", "mbt2018-vbr", "cheng2020-anchor", "cheng2020-attn")
_OLD_PART = re.compile(r"(entropy_bottleneck)\._(matrix|bias|factor|matrices|biases|factors)\.?(\d+)$")
_NEW_PART = {"matrix": "matrices", "bias": "biases", "factor": "factors"}


def check_name(name: str) -> None:
    """UsageError for an architecture that cannot be added."""
    if name in SERIAL:
        raise UsageError(
            f"{name} predicts each latent from the one before it, which takes many seconds a picture",
            f"networks that decode in parallel: {', '.join(NAMES)}",
        )
    if name not in NAMES:
        raise UsageError(f"unknown architecture {name!r}", f"architectures: {', '.join(NAMES)}")


def read_checkpoint(path: Path, name: str) -> dict[str, Tensor]:
    """The state dict in a file, for an architecture: names as CompressAI 1.2.8 gives them, float32 on the processor.

    It may be inside a training checkpoint, as "state_dict". ModelError for anything else.
    """
    try:
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower() or "reduce" in str(error):
            raise ModelError(
                f"{path} holds more than tensors, and psic runs no code of a checkpoint",
                "save the network's state_dict()",
            ) from None
        raise ModelError(f"{path} is damaged, or no checkpoint of PyTorch") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception:  # torch.load raises whatever its parsers meet in a damaged file
        raise ModelError(f"{path} is damaged, or no checkpoint of PyTorch") from None
    if isinstance(data, dict) and isinstance(data.get("state_dict"), dict):
        data = data["state_dict"]
    if not isinstance(data, dict) or not data or not all(isinstance(key, str) for key in data):
        raise ModelError(f"{path} holds no state dict")
    state = {_name(key): value.float() for key, value in data.items() if isinstance(value, Tensor)}
    looks_like = _recognised(state)
    if looks_like != name:
        what = f"it looks like {looks_like}" if looks_like else "it is of another kind"
        raise ModelError(f"{path} is no checkpoint of {name}: {what}")
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise ModelError(f"{path} has numbers in {key} that are not finite")
    return state


def _name(key: str) -> str:
    """A tensor's name today: older versions called the parts of entropy bottlenecks otherwise."""
    key = key.removeprefix("module.")
    found = _OLD_PART.search(key)
    if found is None:
        return key
    part = _NEW_PART.get(found[2], found[2])
    return f"{key[: found.start()]}{found[1]}.{part}.{found[3]}"


def _recognised(state: dict[str, Tensor]) -> str | None:
    """The architecture whose tensors these are."""
    if "g_a.0.weight" in state and "g_a.1.beta" in state:
        is_variable = "Gain" in state
        if "context_prediction.weight" in state:
            return "mbt2018-vbr" if is_variable else "mbt2018"
        if "h_s.4.weight" not in state:
            return FACTORIZED
        if len(state["h_s.4.weight"]) == 2 * len(state.get("g_a.6.weight", ())):
            return MEAN_VBR if is_variable else MEAN
        return SCALE_VBR if is_variable else SCALE
    if "g_a.0.weight" in state and "latent_codec.y.latent_codec.y0.context_prediction.weight" in state:
        last, bias = (state.get(f"latent_codec.hyper.h_s.4.{key}") for key in ("weight", "bias"))
        if last is None or bias is None:
            return None
        return CHANDELIER if len(last) == len(bias) else OFFICIAL  # the latter's is transposed
    if "g_a.0.conv1.weight" in state and "g_a.6.weight" in state:
        if "latent_codec.y.context_prediction.weight" in state:
            return CHEQUERBOARD
        if "context_prediction.weight" in state:
            return "cheng2020-anchor"
    return None
