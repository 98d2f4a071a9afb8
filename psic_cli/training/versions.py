"""The decodes that the protection stage trains: which latents each of them has, and which condition.

full       D(y_hat, strength 0)                  as close to the original as it gets
protected  D(public + means, strength 0..1)      misread by the surrogates, within a distortion budget
machine    D(y_hat, machine 1)                   embeddings as the original's (UG-ICM)
forced     D(public + means, strength 0)         what somebody without the key can ask for: made useless to a model
forged     D(public + guesses, strength 0)       the same with sealed symbols drawn from what is predicted of them
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from psic_cli.networks.cltg import WITNESS_SIDE
from psic_cli.networks.entropy_model import clamp_z, scale_of_index
from psic_cli.networks.layers import pad_to_multiple
from psic_cli.networks.network import PICTURE_MULTIPLE, PsicNetwork


@dataclass(frozen=True)
class Latents:
    """What a decoder may have of a batch: each y_hat as the synthesis takes it."""

    full: Tensor  # with the key
    public: Tensor  # without it
    forged: Tensor  # without it, with guesses


class Versions:
    """Latents and decodes of one network.

    scale_condition: tell the synthesis how large the picture is.
    """

    def __init__(self, network: PsicNetwork, scale_condition: bool = True) -> None:
        self.network, self.scale_condition = network, scale_condition

    @torch.no_grad()
    def latents(self, x: Tensor, level: Tensor) -> Latents:
        """Pictures [B, 3, H, W] at levels [B]."""
        network = self.network
        y, z = network.analyse(pad_to_multiple(x, PICTURE_MULTIPLE), network.config.quality(level))
        with torch.autocast(x.device.type, enabled=False):
            symbols, prediction = network.code(y.float(), clamp_z(z.float()), level)
            guesses = torch.round(torch.randn_like(symbols) * scale_of_index(prediction.index))
            choices = [symbols, self._without_key(symbols, torch.zeros_like(symbols))]
            choices.append(self._without_key(symbols, guesses))
            return Latents(*(network.restore(choice, prediction.mean, level) for choice in choices))

    def _without_key(self, symbols: Tensor, instead: Tensor) -> Tensor:
        """Symbols [B, M, h, w] with the sealed ones replaced."""
        public = self.network.config.public
        return torch.cat([symbols[:, :public], instead[:, public:]], dim=1)

    def decode(
        self, y_hat: Tensor, size: Sequence[int], level: Tensor, strength: Tensor, machine: Tensor | None = None
    ) -> Tensor:
        """Latents of pictures of a size -> float32 [B, 3, H, W], not clamped. Levels [B], the others [B, 1]."""
        condition = self.condition(size, level, strength, machine)
        x_hat = self.network.synthesis_for(condition)(y_hat, condition).float()
        return x_hat[:, :, : size[0], : size[1]]

    def protected(self, y_hat: Tensor, size: Sequence[int], level: Tensor) -> tuple[Tensor, Tensor | None]:
        """The same for the protected version with the whole shield, and its shield on thumbnails [B, 3, h, w] if
        the pictures are large.

        Gradients go through what is drawn alone, not through the picture that it is drawn on.
        """
        none = torch.zeros(len(y_hat), 1, device=y_hat.device)
        condition = self.condition(size, level, none + 1)
        with torch.no_grad():
            x_hat = self.decode(y_hat, size, level, none)
        shield, small = self.network.shield(y_hat, x_hat, condition)
        return x_hat + shield, small

    def condition(self, size: Sequence[int], level: Tensor, strength: Tensor, machine: Tensor | None = None) -> Tensor:
        """Conditions [B, 4] of pictures of a size, height and width. Levels [B], strength and machine [B, 1]."""
        machine = torch.zeros_like(strength) if machine is None else machine
        scale = math.log2(min(size) / WITNESS_SIDE) if self.scale_condition else 0.0
        quality = self.network.config.quality(level).to(strength.dtype)[:, None]
        return torch.cat([strength, machine, torch.full_like(strength, scale), quality], dim=1)
