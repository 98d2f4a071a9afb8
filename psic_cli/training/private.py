"""Which latents are sealed: chosen by measurement half-way through compression, then moved behind the public ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from psic_cli.networks.entropy_model import LatentScaling, clamp_z
from psic_cli.networks.network import PsicNetwork
from psic_cli.training.data import CropSource, is_held_out, list_pictures, read_rgb

if TYPE_CHECKING:
    from psic_cli.training.loop import Run

LEVEL = 31  # the middle quality level, at which the share of bits is what was asked for
CROP = 256  # pixels


@torch.no_grad()
def make_private(run: Run, share: float) -> float:
    """Seal the channels that cost the protected version least, until they hold `share` of the bits of y at the middle
    level.

    What a channel costs is the energy that its residuals (symbols, without the predicted mean) carry into the
    synthesis; what it gives is its bits. Channels that are hardly ever coded are left public: they would be sealed in
    name only. Returns the share.
    """
    network = run.network.eval()
    paths = [p for p in list_pictures(run.config.data.photos) if not is_held_out(p)][:64]
    x = CropSource([read_rgb(p) for p in paths], [CROP], seed=0).next_batch(48 * CROP**2).to(run.device)
    level = torch.full((len(x),), LEVEL, device=x.device)
    bits, energy = [], []
    for part, part_level in zip(x.split(8), level.split(8), strict=True):
        _, _, y_bits, _ = run.rate(network, part, part_level)
        y, z = network.analyse(part, network.config.quality(part_level))
        mean = network.predict(clamp_z(z), part_level).mean
        residual = network.quantise(y, mean, part_level) * network.scaling.inverse_gain(part_level)
        bits.append(y_bits)
        energy.append(residual.square().sum((2, 3)))
    channel_bits = torch.cat(bits).mean(0)
    reach = network.g_s.from_latents.weight[:, :, 0, 0].square().sum(0)  # how far a latent moves the synthesis
    cost = torch.cat(energy).mean(0) * reach
    cost[: network.config.details] = torch.inf  # their place in the order is fixed
    chosen = choose_private(channel_bits, cost, share)
    public = torch.tensor([c for c in range(len(cost)) if c not in set(chosen.tolist())])
    reorder_latents(network, torch.cat([public, chosen.cpu()]))
    network.config = replace(network.config, private=len(chosen))
    network.g_s.expect_sealed(len(chosen))
    network.g_s.to(x.device)
    return float(channel_bits[chosen].sum() / channel_bits.sum())


def choose_private(bits: Tensor, cost: Tensor, share: float) -> Tensor:
    """Channel numbers, cheapest per bit first, that together hold at least `share` of the bits; all that may be sealed
    if they hold less, none if the share is 0. bits, cost: [M], infinite where a channel stays public.
    """
    coded = torch.nonzero((bits > 1e-3 * bits.sum()) & cost.isfinite())[:, 0]
    cheapest = coded[(cost[coded] / bits[coded]).argsort()]
    held = bits[cheapest].cumsum(0) / bits.sum()
    return cheapest[: int((held < share).sum()) + 1 if share else 0]


def reorder_latents(network: PsicNetwork, order: Tensor) -> None:
    """Give the channels of y a new order. Only what the context models compute changes, since which channels are coded
    in which step depends on their order: they have to learn it anew. order: [M], a permutation that leaves the details
    in front.
    """
    assert isinstance(network.scaling, LatentScaling)
    last = network.h_s.convolutions()[-1]
    both = torch.cat([order, order + len(order)])  # means, then indexes
    details = network.config.details
    rows: list[Any] = [network.g_a.to_latents.weight, network.g_a.to_latents.bias]
    columns: list[Any] = [network.g_s.from_latents.weight, network.h_a.layers[0].weight]
    columns += [network.scaling.log_gain, network.scaling.log_inverse]
    looked_at: list[Any] = []  # M without the details
    outputs: list[Any] = [last.weight, last.bias]  # twice M
    for context in network.context_models():
        near, here, _, correction = context.convolutions()
        columns.append(here.weight[:, -len(order) :])
        looked_at.append(near.weight)
        outputs += [correction.weight, correction.bias]
    with torch.no_grad():
        for parameter in rows:
            parameter.copy_(parameter[order].clone())
        for parameter in columns:
            parameter.copy_(parameter[:, order].clone())
        for parameter in looked_at:
            parameter.copy_(parameter[:, order[details:] - details].clone())
        for parameter in outputs:
            parameter.copy_(parameter[both].clone())
