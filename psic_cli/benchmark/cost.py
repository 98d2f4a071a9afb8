"""What a network computes, counted rather than timed: the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from psic_cli.benchmark.contenders import Contender

if TYPE_CHECKING:
    from torch import nn

    from psic_cli.networks.backbone import Backbone
    from psic_cli.networks.config import NetworkConfig

PROBE_SIDE = 256  # pixels: a multiple of what all networks pad to


@dataclass(frozen=True)
class Cost:
    """kmac: thousands of multiplications with addition per pixel of a 256 x 256 picture, coding its latents included.

    parameters: of all parts, those that only the encoder or the decoder uses among them.
    """

    parameters: int
    encode_kmac: float
    decode_kmac: float


def count_cost(codec: Contender, network: nn.Module | Backbone[Any]) -> Cost:
    """Count the matrix products and convolutions of one encode and one decode."""
    from torch.utils.flop_counter import FlopCounterMode

    rgb = np.random.default_rng(0).integers(0, 256, (PROBE_SIDE, PROBE_SIDE, 3), np.uint8)
    with FlopCounterMode(display=False) as encoding:
        data = codec.encode(rgb)
    with FlopCounterMode(display=False) as decoding:
        codec.decode(data)
    kmac = (counter.get_total_flops() / 2 / PROBE_SIDE**2 / 1000 for counter in (encoding, decoding))
    return Cost(sum(parameter.numel() for parameter in network.parameters()), *kmac)


def network_cost(config: NetworkConfig) -> Cost:
    """Of psic's own network of any sizes, untrained: one analysis with its latents, one synthesis with what it needs of
    the entropy network, without any search.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from psic_cli.networks.network import PsicNetwork

    network = PsicNetwork(config).eval()
    x, level = torch.rand(1, 3, PROBE_SIDE, PROBE_SIDE), torch.tensor([config.levels // 2])
    with torch.no_grad(), FlopCounterMode(display=False) as encoding:
        y, z = network.analyse(x, config.quality(level))
        with FlopCounterMode(display=False) as coding:
            symbols, prediction = network.code(network.scale(y, level), z.round(), level)
    with torch.no_grad(), FlopCounterMode(display=False) as synthesis:
        network.synthesise(network.restore(symbols, prediction, level), torch.zeros(1, 4))
    entropy = coding.get_total_flops()
    kmac = (
        flops / 2 / PROBE_SIDE**2 / 1000
        for flops in (encoding.get_total_flops(), entropy + synthesis.get_total_flops())
    )
    return Cost(sum(parameter.numel() for parameter in network.parameters()), *kmac)
