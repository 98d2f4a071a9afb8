"""Estimated rate for training: CompressAI's likelihoods over psic's integer entropy network.

Only training needs this; files are coded with the integer tables that export makes from it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli import packages
from psic_cli.bitstream.tables import N_SCALES, SMALLEST_SCALE
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.context_model import STEPS
from psic_cli.networks.entropy_model import (
    INDEX_SHARE_BITS,
    LOG_SCALE_STEP,
    MEAN_BITS,
    Z_MAX,
    clamp_z,
    scale_of_index,
)
from psic_cli.networks.integer_layers import round_through
from psic_cli.networks.network import PsicNetwork

Z_START = 1.5  # standard deviation of z before training, in steps
FIT_STEPS, FIT_RATE = 600, 0.02  # of the density of z alone
COUNTED = 600  # magnitudes: as many as the widest table has
REMEMBERED = 0.998  # share of the counts that is kept from batch to batch


def check_available() -> None:
    """UsageError if CompressAI is missing: said before anything is read."""
    packages.need("compressai", "training", extra="train")


class RateModel(nn.Module):
    """Bits of z and y, differentiable (Balle et al. 2018).

    z has learned factorised densities (EntropyBottleneck), others in each range of quality levels, y a Gaussian whose
    mean and scale come from the integer network. The rate is measured on latents with uniform noise, the synthesis gets
    rounded ones with straight-through gradients.

    Real symbols are not quite Gaussian: how often each magnitude comes with each scale is counted on the way, for the
    tables of the exported model.
    """

    counts: Tensor  # [N_SCALES, COUNTED + 1], the last column for all that are larger

    def __init__(self, config: NetworkConfig) -> None:
        """UsageError if CompressAI is missing."""
        check_available()
        from compressai.entropy_models import EntropyBottleneck, GaussianConditional

        super().__init__()
        self.config = config
        self.prior = EntropyBottleneck(config.z_bands * config.hyper_latents, init_scale=4)
        self.gaussian = GaussianConditional(None)
        self.register_buffer("counts", torch.zeros(N_SCALES, COUNTED + 1))

    def forward(self, network: PsicNetwork, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 3, H, W], levels [B] -> y_hat [B, M, h, w], bits of y [B, M], bits of z [B]."""
        y, z = network.analyse(x, network.config.quality(level))
        with torch.autocast(x.device.type, enabled=False):
            y, z = y.float(), z.float()
            z_likelihood = self.z_likelihood(z, level)
            prediction = network.predict(round_through(z).clamp(-Z_MAX, Z_MAX), level)
            scaled = network.scale(y, level)
            for step in range(1, STEPS):
                prediction = network.refine(prediction, round_through(scaled - prediction.mean / 2**MEAN_BITS), step)
            mean = prediction.mean / 2**MEAN_BITS
            _, y_likelihood = self.gaussian(scaled, scale_of_index(prediction.index), mean)
            symbols = round_through(scaled - mean)
            y_hat = network.restore(symbols, prediction.mean, level)
            y_bits = -y_likelihood.clamp_min(1e-9).log2().sum((2, 3))
            z_bits = -z_likelihood.clamp_min(1e-9).log2().sum((1, 2, 3))
        if torch.is_grad_enabled():
            self._count(symbols.detach(), prediction.index.detach())
        return y_hat, y_bits, z_bits

    def z_likelihood(self, z: Tensor, level: Tensor) -> Tensor:
        """Of z [B, N, h, w] at levels [B]: the same shape. The prior gets z as rows of a sample of each range."""
        band = self.config.band(level, self.config.z_bands)
        is_of_band = F.one_hot(band, self.config.z_bands)
        row = (is_of_band.cumsum(0) * is_of_band).sum(1) - 1  # samples of the same range before this one
        rows = z.new_zeros(int(row.max()) + 1, self.config.z_bands, *z.shape[1:])
        rows[row, band] = z
        _, likelihood = self.prior(rows.flatten(1, 2))
        return likelihood.view_as(rows)[row, band]  # type: ignore[no-any-return]

    def _count(self, symbols: Tensor, index: Tensor) -> None:
        """Symbols and table indexes, both [B, M, h, w]. What was counted long ago fades."""
        columns = COUNTED + 1
        places = index.long() * columns + symbols.abs().clamp_max(COUNTED).long()
        counted = torch.bincount(places.flatten(), minlength=self.counts.numel())
        self.counts.mul_(REMEMBERED).add_(counted.view_as(self.counts))

    @torch.no_grad()
    def recount(self, network: PsicNetwork, pictures: Iterable[Tensor]) -> None:
        """Count anew what a trained network, in evaluation mode, makes of batches [B, 3, H, W], at all quality levels.

        What was counted on the way was made by weights that still changed.
        """
        self.counts.zero_()
        for x in pictures:
            level = torch.randint(network.config.levels, (len(x),), device=x.device)
            y, z = network.analyse(x, network.config.quality(level))
            with torch.autocast(x.device.type, enabled=False):
                symbols, prediction = network.code(network.scale(y.float(), level), clamp_z(z.float()), level)
            self._count(symbols, prediction.index)

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
            (-likelihood.clamp_min(1e-9).log2().mean()).backward()
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
