"""Makes tests/vectors/models/tiny: psic-base with few channels, seeded and untrained, exported as every model is.

    python tests/vectors/make_tiny_model.py

The frozen files beside it name its weights by hash: run this only together with make_vectors.py, when the format or
the weights' layout changes. Untrained does not mean useless: the network starts as a block transform codec.
"""

from __future__ import annotations

from pathlib import Path

import torch

from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.network import PsicNetwork
from psic_cli.training.export import export
from psic_cli.training.rate import RateModel

CONFIG = NetworkConfig(
    width=24,
    latents=20,
    details=4,
    hyper_width=8,
    hyper_latents=6,
    analysis_blocks=1,
    synthesis_blocks=1,
    cltg_hidden=16,
)


def make_tiny_model(folder: Path) -> Path:
    """A network whose versions differ visibly and whose means and scales depend on z."""
    torch.manual_seed(7)
    network, rate = PsicNetwork(CONFIG), RateModel(CONFIG)
    noise = torch.nn.functional.interpolate(torch.rand(8, 3, 16, 16), (128, 128), mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        rate.start_from(network, noise)
        for head in network.g_s.cltg.heads.parameters():
            head.normal_(0, 0.3)
        for transform in (network.g_a, network.g_s):
            transform.of_quality.learned.normal_(0, 0.005)
        for layer in network.h_s.convolutions():
            layer.weight.mul_(3)
        for _, integers in network.integer_layers():
            if integers.level_bias is not None:
                integers.level_bias.normal_(0, 0.5)
        network.h_a.of_quality.learned.normal_(0, 0.1)
        for parameter in rate.prior.parameters():  # tables of z that differ
            parameter.add_(0.1 * torch.randn_like(parameter))
        for context in network.context_models():
            context.convolutions()[-1].weight.normal_(0, 0.2)
    card = {"training": "none: seeded random numbers over a block transform", "licence": "Apache-2.0"}
    return export(network.eval(), rate, folder, "tiny", card)


if __name__ == "__main__":
    make_tiny_model(Path(__file__).parent / "models" / "tiny")
