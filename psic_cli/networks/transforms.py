"""The analysis g_a (picture -> latents) and the conditional synthesis g_s (latents + condition -> picture) of
psic-base.

All work happens at 1/8 resolution and below; both transforms start as a Karhunen-Loeve block transform and its inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.networks.cltg import ConditionalLatentTriggerGenerator
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.layers import Biases, Bottleneck, ContextBlock, karhunen_loeve_basis, precisely

SlotBiases = Sequence[Tensor | None]  # [B, width, 1, 1] each, in the order in which blocks use them
PATCH = 8  # pixels per side of a cell at the resolution of the widest blocks
STRIDE = 16  # pixels per latent
CONTEXT = 4  # latents per side of a cell of the context trunk: 1/64 of the picture
SEALED_MAX = 4.0  # of a sealed symbol where it only shows that it is known
# Step of the latents of an untrained codec: at the best quality lambda = 0.05 on 255^2 MSE asks for steps of sqrt(6 /
# (lambda ln 2)) = 13
LATENT_SCALE = 255.0 / 13.2


def _split_basis(deep_width: int) -> tuple[Tensor, Tensor]:
    """Factor the 16x16 Karhunen-Loeve transform into an 8x8 stem and a 2x2 merge.

    Returns stem [192, 192] over (colour, y, x) of 8x8 cells, and merge [deep_width, 192, 2, 2].
    """
    stem = karhunen_loeve_basis(PATCH, 3 * PATCH**2)
    whole = karhunen_loeve_basis(STRIDE, min(deep_width, 3 * STRIDE**2)).reshape(-1, 3, 2, PATCH, 2, PATCH)
    merge = torch.einsum("ncaybx,mcyx->nmab", whole, stem.reshape(-1, 3, PATCH, PATCH))
    return stem, merge


def _view(blocks: int, deep_blocks: int) -> int:
    """How many latents (16 pixels) beyond its own a result depends on: one per 3x3 at 1/16, one per two at 1/8."""
    return deep_blocks + -(-blocks // 2)


class Analysis(nn.Module):
    r"""g_a: [B, 3, H, W] in 0..1, sides multiples of 16 -> y [B, latents, H/16, W/16].

    x - 0.5 -> unshuffle 8 -> 1x1 -> bottlenecks (1/8) -> 2x2 stride 2 -> bottlenecks (1/16) -> 1x1 -> + -> y
                                                                      \- the first `details` channels -/

    At high quality a picture's fine detail fills more channels than the narrow way through 1/16 has room for.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, deep_width, latents, details = config.width, config.deep_width, config.latents, config.details
        self.stem = nn.Conv2d(3 * PATCH**2, width, 1)
        self.blocks = nn.ModuleList(Bottleneck(width) for _ in range(config.analysis_blocks))
        self.merge = nn.Conv2d(width, deep_width + details, 2, stride=2)
        self.deep_blocks = nn.ModuleList(Bottleneck(deep_width) for _ in range(config.deep_blocks))
        self.to_latents = nn.Conv2d(deep_width, latents, 1)
        self.details = details
        self.view = _view(config.analysis_blocks, config.deep_blocks)
        self._start_as_block_transform()

    @torch.no_grad()
    def _start_as_block_transform(self) -> None:
        stem, merge = _split_basis(self.to_latents.in_channels)
        rows, deep, latents = min(len(stem), self.stem.out_channels), len(merge), self.to_latents.out_channels
        for layer in (self.stem, self.merge, self.to_latents):
            layer.weight.mul_(0.1)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.stem.weight[:rows] = stem[:rows, :, None, None]
        self.merge.weight.zero_()
        self.merge.weight[:deep, :rows] = merge[:, :rows]
        self.to_latents.weight.zero_()
        for i in range(min(latents, deep)):
            self.to_latents.weight[i, i] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(F.pixel_unshuffle(x - 0.5, PATCH)).float()
        for block in self.blocks:
            h = block(h)
        h, details = self.merge(h).float().tensor_split([self.to_latents.in_channels], dim=1)
        for block in self.deep_blocks:
            h = block(h)
        y = precisely(self.to_latents, h)
        y[:, : self.details] += details
        return LATENT_SCALE * y


class Synthesis(nn.Module):
    r"""g_s: y_hat [B, latents + private, h, w] -> x_hat [B, 3, 16 h, 16 w], not clamped. No condition changes it.

    y_hat -> 1x1 -> bottlenecks (1/16) -> 1x1, shuffle 2 -> bottlenecks (1/8) -> 1x1, shuffle 8
          \- the first `details` channels -/

    The last `private` channels of y_hat are the symbols of the sealed latents, all zero where they are unknown.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, deep_width, latents = config.width, config.deep_width, config.latents
        self.details = config.details
        self.from_latents = nn.Conv2d(latents, deep_width, 1)
        self.expect_sealed(config.private)
        self.deep_blocks = nn.ModuleList(Bottleneck(deep_width) for _ in range(config.deep_blocks))
        self.split = nn.Conv2d(deep_width + config.details, 4 * width, 1)
        self.blocks = nn.ModuleList(Bottleneck(width) for _ in range(config.synthesis_blocks))
        self.to_pixels = nn.Conv2d(width, 3 * PATCH**2, 1)
        self.view = _view(config.synthesis_blocks, config.deep_blocks)
        self._start_as_block_transform()

    @torch.no_grad()
    def _start_as_block_transform(self) -> None:
        stem, merge = _split_basis(self.from_latents.out_channels)
        rows, deep, latents = min(len(stem), self.to_pixels.in_channels), len(merge), self.from_latents.in_channels
        for layer in (self.from_latents, self.split, self.to_pixels):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.from_latents.weight.zero_()
        for i in range(min(latents, deep)):
            self.from_latents.weight[i, i] = 1.0
        self.split.weight.zero_()
        split = self.split.weight[:, :, 0, 0].view(-1, 2, 2, self.split.in_channels)  # [width, 2, 2, deep + details]
        split[:rows, :, :, :deep] = merge[:, :rows].permute(1, 2, 3, 0)
        self.to_pixels.weight.mul_(0.1)
        self.to_pixels.weight[:, :rows] = stem[:rows].T[:, :, None, None]

    def expect_sealed(self, private: int) -> None:
        """Make the layer that looks at the symbols of `private` sealed latents; it starts blind."""
        self.from_sealed = nn.Conv2d(2 * private, self.from_latents.out_channels, 1, bias=False) if private else None
        if self.from_sealed is not None:
            nn.init.zeros_(self.from_sealed.weight)

    def forward(self, y_hat: Tensor, condition: Tensor) -> Tensor:
        understanding, painting = self.biases(condition)
        return self.paint(self.understand(y_hat, understanding), painting)

    def biases(self, condition: Tensor) -> tuple[SlotBiases, SlotBiases]:
        """What conditions [B, 4] add in `understand` and in `paint`."""
        return [], [None] * len(self._painting_slots())

    def _painting_slots(self) -> list[int]:
        return [slot for block in [*self.deep_blocks, *self.blocks] for slot in block.slots()]  # type: ignore[operator]

    def understand(self, y_hat: Tensor, slot_biases: SlotBiases) -> Tensor:
        """The cheap part at 1/16 and below.

        [B, latents + private, h, w] -> [B, deep_width + details, h, w]; the details pass as they are.
        """
        latents = self.from_latents.in_channels
        y = y_hat[:, :latents] / LATENT_SCALE
        h = self.from_latents(y).float()
        if self.from_sealed is not None:
            sealed = y_hat[:, latents:].clamp(-SEALED_MAX, SEALED_MAX)
            h = h + self.from_sealed(torch.cat([sealed, sealed.abs()], dim=1))
        return torch.cat([self._look_around(h, iter(slot_biases)), y[:, : self.details]], dim=1)

    def trunk(self) -> list[nn.Module]:
        """What looks around; only a synthesis under conditions may have it. As made it changes nothing."""
        return []

    def _look_around(self, h: Tensor, biases: Biases) -> Tensor:
        return h

    def paint(self, h: Tensor, slot_biases: SlotBiases) -> Tensor:
        """The part whose cost is per pixel: what `understand` gives -> [B, 3, 16 h, 16 w]."""
        biases = iter(slot_biases)
        h, details = h.tensor_split([self.from_latents.out_channels], dim=1)
        for block in self.deep_blocks:
            h = block(h, biases)
        h = F.pixel_shuffle(self.split(torch.cat([h, details], dim=1)), 2).float()
        for block in self.blocks:
            h = block(h, biases)
        return F.pixel_shuffle(precisely(self.to_pixels, h), PATCH) + 0.5


class ConditionalSynthesis(Synthesis):
    """The same under a condition [B, 4]: CLTG adds two biases in each block, and a context trunk at 1/16 and 1/64, if
    there is one, looks around before the other blocks; `wide_blocks` bottlenecks end it.

    The trunk exists for the shield: a vision-language model looks at a photo shrunk to about 224 pixels, so what
    misleads it must be drawn over areas far larger than the small kernels can see. With it h and w must be multiples
    of 4.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        slots = self._make_trunk(config) if config.context_trunk else []
        self.has_trunk, self.understanding_slots = config.context_trunk, len(slots)
        self.cltg = ConditionalLatentTriggerGenerator(slots + self._painting_slots(), config.cltg_hidden)

    def _make_trunk(self, config: NetworkConfig) -> list[int]:
        """Returns the widths of its slots."""
        deep_width = config.deep_width
        self.near_context = ContextBlock(deep_width)
        self.gather = nn.Conv2d(deep_width, deep_width, CONTEXT, stride=CONTEXT, groups=deep_width)
        self.far_context = nn.ModuleList(ContextBlock(deep_width) for _ in range(2))
        self.spread = nn.Conv2d(deep_width, deep_width, 1)
        self.wide_blocks = nn.ModuleList(Bottleneck(deep_width) for _ in range(config.wide_blocks))
        nn.init.constant_(self.gather.weight, 1.0 / CONTEXT**2)
        nn.init.zeros_(self.spread.weight)
        nn.init.zeros_(self.spread.bias)  # type: ignore[arg-type]
        wide = [self.near_context, *self.far_context, *self.wide_blocks]
        return [slot for block in wide for slot in block.slots()]  # type: ignore[operator]

    def trunk(self) -> list[nn.Module]:
        if not self.has_trunk:
            return []
        return [self.near_context, self.gather, self.far_context, self.spread, self.wide_blocks]

    def biases(self, condition: Tensor) -> tuple[SlotBiases, SlotBiases]:
        found = self.cltg(condition)
        return found[: self.understanding_slots], found[self.understanding_slots :]

    def _look_around(self, h: Tensor, biases: Biases) -> Tensor:
        if not self.has_trunk:
            return h
        h = self.near_context(h, biases)
        far = self.gather(h)
        for block in self.far_context:
            far = block(far, biases)
        h = h + F.interpolate(self.spread(far), scale_factor=CONTEXT, mode="bilinear", align_corners=False)
        for block in self.wide_blocks:
            h = block(h, biases)
        return h
