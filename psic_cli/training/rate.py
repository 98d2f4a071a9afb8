"""Estimated rate for training: CompressAI's likelihoods over psic's integer entropy network.

Only training needs this; files are coded with the integer tables that export makes from it.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from psic_cli.networks.entropy_model import MEAN_BITS, Z_MAX, round_through, scale_of_index
from psic_cli.networks.network import PsicNetwork

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from compressai.entropy_models import EntropyBottleneck, GaussianConditional


class RateModel(nn.Module):
    """Bits of z and y, differentiable (Balle et al. 2018).

    z has a learned factorised density (EntropyBottleneck), y a Gaussian whose mean and scale come from the integer
    network. The rate is measured on latents with uniform noise, the synthesis gets rounded ones with straight-through
    gradients.
    """

    def __init__(self, hyper_latents: int) -> None:
        super().__init__()
        self.prior = EntropyBottleneck(hyper_latents, init_scale=4)
        self.gaussian = GaussianConditional(None)

    def forward(self, network: PsicNetwork, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B, 3, H, W], levels [B] -> y_hat, mean (both in units of the decoder's latents, [B, M, h, w]), bits of y
        [B, M], bits of z [B].
        """
        y, z = network.analyse(x)
        with torch.autocast(x.device.type, enabled=False):
            y, z = y.float(), z.float()
            _, z_likelihood = self.prior(z)
            mean, index = network.predict(round_through(z).clamp(-Z_MAX, Z_MAX), level)
            scale = scale_of_index(index)
            gain = network.scaling.integer_gain(level) / 2**10
            mean = mean / 2**MEAN_BITS
            scaled = y * gain
            _, y_likelihood = self.gaussian(scaled, scale, mean)
            inverse = network.scaling.inverse_gain(level)
            y_hat = (round_through(scaled - mean) + mean) * inverse
            y_bits = -y_likelihood.clamp_min(1e-9).log2().sum((2, 3))
            z_bits = -z_likelihood.clamp_min(1e-9).log2().sum((1, 2, 3))
        return y_hat, mean * inverse, y_bits, z_bits

    @torch.no_grad()
    def start_from(self, network: PsicNetwork, x: Tensor) -> None:
        """Set the scales that the network predicts before training to the latents' own, so that training need not find
        them.
        """
        y = network.analyse(x)[0].float()
        index = (y.std((0, 2, 3)).clamp_min(0.2) / 0.11).log() / (torch.tensor(128 / 0.11).log() / 63)
        network.h_s.convolutions()[-1].bias[len(index) :] = index / 16
