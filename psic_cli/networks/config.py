"""The sizes of psic-base."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

KINDS = {"block": ("bottleneck", "depthwise", "gated"), "activation": ("relu", "leaky", "silu")}


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of psic-base; stored in a model's card. ValueError for a kind that does not exist."""

    width: int = 192  # channels at 1/8
    latents: int = 192  # channels of y
    details: int = 0  # the first this many channels of y are fine detail, at which the context model does not look
    hyper_width: int = 128  # channels inside h_a, h_s and the context model
    hyper_latents: int = 96  # channels of z
    analysis_blocks: int = 4
    synthesis_blocks: int = 4
    analysis_width: int = 0  # channels at 1/8 in the analysis, which only encoders run; 0: as many as `width`
    block: str = "bottleneck"  # what the transforms are made of: see layers.py
    activation: str = "relu"  # inside the blocks and the hyper-analysis
    cltg_hidden: int = 512  # width of the condition's MLP
    levels: int = 64  # quality levels
    even_from: int = 0  # pixels: pictures whose shorter side is smaller get higher levels (header.quality_level)
    z_bands: int = 8  # ranges of levels, each with a table of its own for every channel of z
    largest_side: int = 224  # shorter side, in pixels, of the largest pictures that the conditions were trained on

    def __post_init__(self) -> None:
        for key, kinds in KINDS.items():
            if getattr(self, key) not in kinds:
                raise ValueError(f"{key} cannot be {getattr(self, key)!r}, only one of {', '.join(kinds)}")

    def quality(self, level: Tensor) -> Tensor:
        """Levels [B] as 0 (smallest file) to 1 (best)."""
        return level.float() / (self.levels - 1)

    def band(self, level: Tensor, bands: int) -> Tensor:
        """Levels [B] -> which of so many ranges of levels each is in, 0..bands - 1."""
        return level * bands // self.levels

    def z_tables(self, level: Tensor) -> Tensor:
        """Levels [B] -> [B, hyper_latents], the table of each channel of z."""
        band = self.band(level, self.z_bands)[:, None]
        return band * self.hyper_latents + torch.arange(self.hyper_latents, device=level.device)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
