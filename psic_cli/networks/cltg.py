"""Conditional Latent Trigger Generation (CLTG): a condition becomes one bias per channel of the synthesis.

Start with `Condition`, then `ConditionalLatentTriggerGenerator`; what every version knows of the quality are
`QualityBiases`. Biases are constant over a picture, so they are
computed once per decode (`[B, width]` for each slot) and cost nothing per pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WITNESS_SIDE = 224  # pixels: the short side at which most vision-language models see a picture
OCTAVES = 4  # frequencies 1, 2, 4, 8
CONDITIONS = 4  # numbers in a condition
QUALITY = 3  # the place of the quality among them
LEARNED_QUALITIES = 8  # evenly spaced, as the gains of the latents


@dataclass(frozen=True)
class Condition:
    """What a decode is asked for.

    strength: shield strength, 0 (none) to 1 (as trained): about the share of the decibels that a whole shield costs.
    machine: preference for machine analysis, 0 (people) or 1 (machines).
    short_side: the shorter side of the picture in pixels; the shield must act at the scale at which a model looks.
    quality: 0 (smallest file) to 1 (best); what a shield may cost depends on it.
    """

    strength: float
    machine: float
    short_side: int
    quality: float

    def tensor(self, largest_side: int, device: torch.device | str = "cpu") -> Tensor:
        """[1, 4] float32: strength, machine, scale = log2(short side / 224), quality.

        The scale stops at what training has seen: below 224 pixels, and above `largest_side`, it stays what it is
        there.
        """
        side = max(WITNESS_SIDE, min(self.short_side, largest_side))
        values = [self.strength, self.machine, math.log2(side / WITNESS_SIDE), self.quality]
        return torch.tensor([values], dtype=torch.float32, device=device)


def of_full(condition: Tensor) -> Tensor:
    """The conditions [B, 4] of the full versions of the same pictures."""
    return condition * condition.new_tensor([0.0, 0.0, 1.0, 1.0])


def fourier_features(condition: Tensor) -> Tensor:
    """[B, 4] -> [B, 4 * (1 + 2 * OCTAVES)]: the value, sin(2^k v) and cos(2^k v).

    The paper uses k = 0..9 for a condition that is only ever 0 or 1. Ours are continuous and must interpolate between
    what training has seen, so the frequencies stop at 2^3, and the scale is divided by 4 to lie in about the same range
    as the rest.
    """
    values = condition * condition.new_tensor([1.0, 1.0, 0.25, 1.0])
    octaves = 2.0 ** torch.arange(OCTAVES, device=values.device, dtype=values.dtype)
    angles = values[:, :, None] * octaves
    return torch.cat([values[:, :, None], angles.sin(), angles.cos()], dim=2).flatten(1)


class QualityBiases(nn.Module):
    """Quality, 0..1, -> biases for every slot of a transform: what is worth keeping of a picture, and how far latents
    can be trusted, depends on how coarsely they are rounded.

    They are learned at a few qualities, and interpolated between these. They start at zero.

    Args:
        slots: width in channels of each bias slot, in the order in which the transform uses them.
    """

    def __init__(self, slots: list[int]) -> None:
        super().__init__()
        self.slots = slots
        self.learned = nn.Parameter(torch.zeros(LEARNED_QUALITIES, sum(slots)))

    def forward(self, quality: Tensor) -> Sequence[Tensor]:
        """[B] -> [B, width, 1, 1] for each slot."""
        places = torch.arange(LEARNED_QUALITIES, device=quality.device)
        distance = (quality[:, None] * (LEARNED_QUALITIES - 1) - places).abs()
        biases = (1 - distance).clamp_min(0) @ self.learned
        return biases[:, :, None, None].split(self.slots, dim=1)


class ConditionalLatentTriggerGenerator(nn.Module):
    """Condition -> biases for every slot of the synthesis (PSIC, arXiv 2506.15201; UG-ICM's PCDM, arXiv 2501.04579, is
    the same).

        condition [B, 4] -> Fourier features -> Linear, SiLU, Linear, SiLU [B, 512] -> minus what the full version has
            at that size -> one bias-free Linear head per slot [B, width]

    Heads start at zero: an untrained generator leaves the synthesis as it is. Two things differ from the paper. Its
    ReLU units die where few conditions are trained: 2 of 512 were left, and full, machine and every size had one
    answer. And the full version is the origin: its biases are zero whatever the others learn, or all their steps shake
    it.

    Args:
        slots: width in channels of each bias slot, in the order in which the synthesis uses them.
        hidden: width of the MLP, 512 in the paper.
    """

    def __init__(self, slots: list[int], hidden: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(CONDITIONS * (1 + 2 * OCTAVES), hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.heads = nn.ModuleList(nn.Linear(hidden, width, bias=False) for width in slots)
        for head in self.heads:
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]

    def forward(self, condition: Tensor) -> Sequence[Tensor]:
        """[B, 4] -> [B, width, 1, 1] for each slot."""
        # In float32 under autocast too: bfloat16 rounds what a condition asks for by up to a tenth.
        with torch.autocast(condition.device.type, enabled=False):
            trigger = self.trunk(fourier_features(condition)) - self.trunk(fourier_features(of_full(condition)))
            return [head(trigger)[:, :, None, None] for head in self.heads]
