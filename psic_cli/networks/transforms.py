"""The analysis g_a (picture -> latents) and the conditional synthesis g_s (latents -> picture) of psic-base.

All work happens at 1/8 resolution and below; both transforms start as a Karhunen-Loeve block transform and its inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.networks.backbone import STRIDE
from psic_cli.networks.cltg import QUALITY, ConditionalLatentTriggerGenerator, QualityBiases
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.layers import BLOCKS, karhunen_loeve_basis, precisely

PATCH = 8  # pixels per side of a cell at the resolution of the blocks
# A part of what the network computes, so another one is another model. An untrained network begins with the step that
# it should have where the gain is 1: lambda = 0.05 on 255^2 MSE asks for sqrt(6 / (lambda ln 2)) = 13
LATENT_SCALE = 255.0 / 13.2


def _split_basis(count: int) -> tuple[Tensor, Tensor]:
    """Factor the first rows of the 16x16 Karhunen-Loeve transform into an 8x8 stem and a 2x2 merge.

    Returns stem [192, 192] over (colour, y, x) of 8x8 cells, and merge [count, 192, 2, 2].
    """
    stem = karhunen_loeve_basis(PATCH, 3 * PATCH**2)
    whole = karhunen_loeve_basis(STRIDE, count).reshape(-1, 3, 2, PATCH, 2, PATCH)
    merge = torch.einsum("ncaybx,mcyx->nmab", whole, stem.reshape(-1, 3, PATCH, PATCH))
    return stem, merge


def _blocks(config: NetworkConfig, width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(BLOCKS[config.block](width, config.activation) for _ in range(count))


def _slots(blocks: nn.ModuleList) -> list[int]:
    """Widths of the biases, in the order in which the blocks use them."""
    return [slot for block in blocks for slot in block.slots()]  # type: ignore[operator]


def _view(blocks: int) -> int:
    """How many latents (16 pixels) beyond its own a result depends on: one per two 3x3 at 1/8."""
    return -(-blocks // 2)


class Analysis(nn.Module):
    """g_a: [B, 3, H, W] in 0..1, sides multiples of 16, and qualities [B] in 0..1 -> y [B, latents, H/16, W/16].

    x - 0.5 -> unshuffle 8 -> 1x1 -> blocks (1/8) -> 2x2 stride 2 -> y
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.analysis_width or config.width
        self.stem = nn.Conv2d(3 * PATCH**2, width, 1)
        self.blocks = _blocks(config, width, config.analysis_blocks)
        self.of_quality = QualityBiases(_slots(self.blocks))
        self.to_latents = nn.Conv2d(width, config.latents, 2, stride=2)
        self.view = _view(config.analysis_blocks)
        self._start_as_block_transform()

    @torch.no_grad()
    def _start_as_block_transform(self) -> None:
        stem, merge = _split_basis(self.to_latents.out_channels)
        rows = min(len(stem), self.stem.out_channels)
        self.stem.weight.mul_(0.1)
        self.stem.weight[:rows] = stem[:rows, :, None, None]
        self.to_latents.weight.zero_()
        self.to_latents.weight[: len(merge), :rows] = merge[:, :rows]
        for layer in (self.stem, self.to_latents):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        biases = iter(self.of_quality(quality))
        h = self.stem(F.pixel_unshuffle(x - 0.5, PATCH)).float()
        for block in self.blocks:
            h = block(h, biases)
        return LATENT_SCALE * precisely(self.to_latents, h)


class Synthesis(nn.Module):
    """g_s: y_hat [B, latents, h, w] under conditions [B, 4] -> x_hat [B, 3, 16 h, 16 w], not clamped.

    y_hat -> 1x1, shuffle 2 -> blocks (1/8) -> 1x1, shuffle 8

    A condition steers it in every block: CLTG and the quality add to the two biases there.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.from_latents = nn.Conv2d(config.latents, 4 * config.width, 1)
        self.blocks = _blocks(config, config.width, config.synthesis_blocks)
        self.of_quality = QualityBiases(_slots(self.blocks))
        self.cltg = ConditionalLatentTriggerGenerator(_slots(self.blocks), config.cltg_hidden)
        self.to_pixels = nn.Conv2d(config.width, 3 * PATCH**2, 1)
        self.view = _view(config.synthesis_blocks)
        self._start_as_block_transform()

    @torch.no_grad()
    def _start_as_block_transform(self) -> None:
        stem, merge = _split_basis(self.from_latents.in_channels)
        rows = min(len(stem), self.to_pixels.in_channels)
        self.from_latents.weight.zero_()
        cells = self.from_latents.weight[:, :, 0, 0].view(-1, 2, 2, self.from_latents.in_channels)  # [width, 2, 2, M]
        cells[:rows, :, :, : len(merge)] = merge[:, :rows].permute(1, 2, 3, 0)
        self.to_pixels.weight.mul_(0.1)
        self.to_pixels.weight[:, :rows] = stem[:rows].T[:, :, None, None]
        for layer in (self.from_latents, self.to_pixels):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, y_hat: Tensor, condition: Tensor) -> Tensor:
        return self.paint(y_hat, self.biases(condition))

    def biases(self, condition: Tensor) -> Sequence[Tensor]:
        """What conditions [B, 4] add in `paint`: [B, width, 1, 1] each, in the order in which the blocks use them."""
        of_quality = self.of_quality(condition[:, QUALITY])
        return [ours + trigger for ours, trigger in zip(of_quality, self.cltg(condition), strict=True)]

    def paint(self, y_hat: Tensor, biases: Sequence[Tensor]) -> Tensor:
        """y_hat and what `biases` gives -> x_hat."""
        in_order = iter(biases)
        h = F.pixel_shuffle(self.from_latents(y_hat / LATENT_SCALE), 2).float()
        for block in self.blocks:
            h = block(h, in_order)
        return F.pixel_shuffle(precisely(self.to_pixels, h), PATCH) + 0.5
