"""What a checkpoint of a variable-rate network says of its levels, worked out for each of them.

Start with `levels_of`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.backbones.variable import GAIN_BITS, GAIN_MAX, Z_STEP_MAX
from psic_cli.bitstream.tables import SCALES
from psic_cli.networks.backbone import LAMBDAS

LEVELS = 64
Z_BANDS = 8  # ranges of levels, each with one step of z
Z_UNITS = 8  # to a step of 1
LEAST_Z_STEP = 0.5  # as CompressAI has it


@dataclass(frozen=True)
class Levels:
    """See `variable.Variable`. z_units: how many make a step of 1 of z."""

    gain: Tensor
    z_steps: Tensor
    offsets: Tensor
    z_units: int

    @property
    def span(self) -> float:
        """Of quality: distortion is worth the square of a gain."""
        low, high = LAMBDAS
        return 2 * math.log(self.gain[-1].item() / self.gain[0].item()) / math.log(high / low)

    def tensors(self) -> dict[str, Tensor]:
        """What is stored, by name."""
        return {"gain": self.gain.short(), "z_steps": self.z_steps.short(), "offsets": self.offsets.float()}


ONE_LEVEL = Levels(torch.full((1,), GAIN_MAX), torch.ones(1), torch.zeros(1, len(SCALES)), z_units=1)


def levels_of(state: dict[str, Tensor]) -> Levels:
    """KeyError, RuntimeError or ValueError for a state dict whose parts do not fit."""
    learned = state["Gain"].double().abs()
    rises = learned.ndim == 1 and len(learned) > 1 and (learned.diff() > 0).all()
    if not rises or not learned[0] >= 0.5 / GAIN_MAX or not learned[-1] <= 1:
        raise ValueError("its gains do not rise from above 0 to 1 at most")
    gain = (_between(learned.log(), LEVELS).exp() * GAIN_MAX).round()
    real = gain / 2**GAIN_BITS
    scales = torch.tensor(SCALES).expand(LEVELS, -1)
    offsets = -_perceptron(state, "QuantABCD", torch.stack([scales, real[:, None].expand_as(scales)], dim=2))[..., 0]
    if "gayn2zqstep.0.weight" not in state:  # z is rounded to whole numbers whatever the gain
        return Levels(gain, torch.ones(1), offsets, z_units=1)
    middles = real[LEVELS // Z_BANDS // 2 :: LEVELS // Z_BANDS]
    steps = F.softplus(_perceptron(state, "gayn2zqstep", 1 / middles[:, None]))[:, 0].clamp_min(LEAST_Z_STEP)
    z_steps = (steps * Z_UNITS).round()
    if not z_steps.max() <= Z_STEP_MAX:
        raise ValueError(f"steps of z can reach {steps.max():.0f}, beyond exact arithmetic")
    return Levels(gain, z_steps, offsets, Z_UNITS)


def _between(values: Tensor, count: int) -> Tensor:
    """As many values, evenly spaced from the first to the last and interpolated linearly."""
    position = torch.linspace(0, len(values) - 1, count, dtype=values.dtype)
    low = position.floor().clamp_max(len(values) - 2)
    return torch.lerp(values[low.long()], values[low.long() + 1], position - low)


def _perceptron(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Three layers with ReLU between them."""
    for number in (0, 2, 4):
        x = F.linear(
            x if number == 0 else F.relu(x), *(state[f"{name}.{number}.{key}"].double() for key in ("weight", "bias"))
        )
    return x
