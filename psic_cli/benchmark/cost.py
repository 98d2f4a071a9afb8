"""What a network computes, counted rather than timed: the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from psic_cli.benchmark.contenders import Contender

if TYPE_CHECKING:
    from torch import nn

PROBE_SIDE = 256  # pixels: a multiple of what all networks pad to


@dataclass(frozen=True)
class Cost:
    """kmac: thousands of multiplications with addition per pixel of a 256 x 256 picture, coding its latents included.

    parameters: of all parts, those that only the encoder or the decoder uses among them.
    """

    parameters: int
    encode_kmac: float
    decode_kmac: float


def count_cost(codec: Contender, network: nn.Module) -> Cost:
    """Count the matrix products and convolutions of one encode and one decode."""
    from torch.utils.flop_counter import FlopCounterMode

    rgb = np.random.default_rng(0).integers(0, 256, (PROBE_SIDE, PROBE_SIDE, 3), np.uint8)
    with FlopCounterMode(display=False) as encoding:
        data = codec.encode(rgb)
    with FlopCounterMode(display=False) as decoding:
        codec.decode(data)
    kmac = (counter.get_total_flops() / 2 / PROBE_SIDE**2 / 1000 for counter in (encoding, decoding))
    return Cost(sum(parameter.numel() for parameter in network.parameters()), *kmac)
