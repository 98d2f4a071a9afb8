"""Estimated rate for training: differentiable bits over psic's integer entropy network.

Only training needs this; files are coded with the integer tables that export makes from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from psic_cli.bitstream.tables import N_SCALES, SMALLEST_SCALE
from psic_cli.networks.backbone import MEAN_BITS, Z_MAX, clamp_z
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.context_model import STEPS
from psic_cli.networks.entropy_model import (
    INDEX_SHARE_BITS,
    LOG_SCALE_STEP,
    scale_of_index,
)
from psic_cli.networks.integer_layers import round_through
from psic_cli.networks.network import PsicNetwork

Z_START = 1.5  # standard deviation of z before training, in steps
FIT_STEPS, FIT_RATE = 600, 0.02  # of the density of z alone
COUNTED = 600  # magnitudes: as many as the widest table has
PARTS = 4  # of a mixture
LEAST = 1e-9  # likelihood: 30 bits


class Prior(nn.Module):
    """Density of z: a mixture of logistic distributions for each channel, others in each range of quality levels."""

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(bands, channels, PARTS))
        self.mean = nn.Parameter(torch.linspace(-2, 2, PARTS).repeat(bands, channels, 1))
        self.log_scale = nn.Parameter(torch.zeros(bands, channels, PARTS))

    def forward(self, z: Tensor, band: Tensor) -> Tensor:
        """z [B, N, h, w], ranges of levels [B] -> the mass of the unit bin around each z: the same shape."""
        weight = self.weight[band].softmax(-1)
        mean, scale = self.mean[band], self.log_scale[band].exp()
        mass = torch.zeros_like(z)
        for part in range(PARTS):
            share, centre, width = (t[:, :, part, None, None] for t in (weight, mean, scale))
            distance = (z - centre).abs()  # from the nearer tail: the difference of two numbers near 1 would be 0
            mass = mass + share * (((0.5 - distance) / width).sigmoid() - ((-0.5 - distance) / width).sigmoid())
        return mass


class RateModel(nn.Module):
    """Bits of z and y, differentiable (Balle et al. 2018): z has learned densities, y a Gaussian whose mean and scale
    come from the integer network.

    In training mode the rate is measured on latents with uniform noise, and in whatever arithmetic it is called in; in
    evaluation mode on rounded ones and exactly. The synthesis gets rounded latents in either, with straight-through
    gradients.

    Real symbols are not quite Gaussian: how often each magnitude comes with each scale is counted, for the tables of
    the exported model, once the weights are final.
    """

    counts: Tensor  # [N_SCALES, COUNTED + 1], the last column for all that are larger

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.prior = Prior(config.z_bands, config.hyper_latents)
        self.register_buffer("counts", torch.zeros(N_SCALES, COUNTED + 1))

    def forward(self, network: PsicNetwork, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 3, H, W], levels [B] -> y_hat [B, M, h, w], bits of y [B, M], bits of z [B]."""
        y, z = (t.float() for t in network.analyse(x, network.config.quality(level)))
        with torch.autocast(x.device.type, enabled=self.training and torch.is_autocast_enabled(x.device.type)):
            prediction = network.predict(round_through(z).clamp(-Z_MAX, Z_MAX), level)
            scaled = network.scale(y, level)
            for step in range(1, STEPS):
                prediction = network.refine(prediction, round_through(scaled - prediction.mean / 2**MEAN_BITS), step)
        distance = scaled - prediction.mean / 2**MEAN_BITS
        symbols = round_through(distance)
        y_likelihood = of_unit_bin(self._measured(distance), scale_of_index(prediction.index))
        z_likelihood = self.z_likelihood(self._measured(z), level)
        y_bits = -y_likelihood.clamp_min(LEAST).log2().sum((2, 3))
        z_bits = -z_likelihood.clamp_min(LEAST).log2().sum((1, 2, 3))
        return network.restore(symbols, prediction, level), y_bits, z_bits

    def _measured(self, x: Tensor) -> Tensor:
        """Noise in place of rounding, in training."""
        return x + torch.rand_like(x) - 0.5 if self.training else round_through(x)

    def z_likelihood(self, z: Tensor, level: Tensor) -> Tensor:
        """Of z [B, N, h, w] at levels [B]: the same shape."""
        return self.prior(z, self.config.band(level, self.config.z_bands))  # type: ignore[no-any-return]

    @torch.no_grad()
    def count(self, network: PsicNetwork, pictures: Iterable[Tensor]) -> None:
        """Count what a trained network, in evaluation mode, makes of batches [B, 3, H, W], at all quality levels."""
        self.counts.zero_()
        for x in pictures:
            level = torch.randint(network.config.levels, (len(x),), device=x.device)
            y, z = network.analyse(x, network.config.quality(level))
            with torch.autocast(x.device.type, enabled=False):
                symbols, prediction = network.code(network.scale(y.float(), level), clamp_z(z.float()), level)
            columns = COUNTED + 1
            places = prediction.index.long() * columns + symbols.abs().clamp_max(COUNTED).long()
            self.counts += torch.bincount(places.flatten(), minlength=self.counts.numel()).view_as(self.counts)

    def fit_prior(self, network: PsicNetwork, x: Tensor) -> None:
        """Learn the density of z that a trained network makes of pictures x [B, 3, H, W]: an exported model keeps it
        as tables alone.
        """
        level = torch.randint(network.config.levels, (len(x),), device=x.device)
        with torch.no_grad():
            parts = zip(x.split(8), network.config.quality(level).split(8), strict=True)
            z = torch.cat([network.analyse(part, quality)[1].float() for part, quality in parts])
        optimiser = torch.optim.Adam(self.prior.parameters(), lr=FIT_RATE)
        for _ in range(FIT_STEPS):
            likelihood = self.z_likelihood(z, level)
            optimiser.zero_grad()
            (-likelihood.clamp_min(LEAST).log2().mean()).backward()
            optimiser.step()

    @torch.no_grad()
    def start_from(self, network: PsicNetwork, x: Tensor) -> None:
        """Set what training would be slow to find, from pictures x [B, 3, H, W]: the scales of y, and a z that is not
        all zeros.

        Channels of z that start within half a step of zero carry nothing, so nothing learns to read them, and most stay
        dead.
        """
        y, z = (t.float() for t in network.analyse(x, x.new_full((len(x),), 0.5)))
        scales = network.h_s.convolutions()[-1].bias[y.shape[1] :]
        scales.copy_((y.std((0, 2, 3)).clamp_min(0.2) / SMALLEST_SCALE).log() / LOG_SCALE_STEP / 2**INDEX_SHARE_BITS)
        last = network.h_a.output
        assert last.bias is not None
        factor = Z_START / z.std((0, 2, 3)).clamp_min(1e-6)
        last.bias.copy_((last.bias - z.mean((0, 2, 3))) * factor)
        last.weight.mul_(factor[:, None, None, None])


def of_unit_bin(distance: Tensor, scale: Tensor) -> Tensor:
    """Mass of a Gaussian in the unit bin whose middle is so far from its mean."""
    distance, factor = distance.abs(), math.sqrt(0.5) / scale
    return 0.5 * (torch.erfc((distance - 0.5) * factor) - torch.erfc((distance + 0.5) * factor))
