"""The weights that psic ships: every part of them works."""

from pathlib import Path

import torch
from torch import Tensor, nn

from psic_cli import zoo
from psic_cli.networks.cltg import Condition
from psic_cli.networks.layers import Bottleneck
from psic_cli.networks.network import PsicNetwork
from psic_cli.training.data import read_rgb, to_tensor

SAMPLE = Path(__file__).parents[2] / "sample_images" / "astronaut.png"
SIDE = 256  # pixels
QUALITY = 0.5
# Of a block: how much of what it adds varies over the picture. A dead one, whose ReLUs let nothing through, adds the
# same everywhere.
LEAST_ALIVE = 0.02


def added(network: PsicNetwork, x: Tensor) -> dict[str, Tensor]:
    """What each residual block adds when x becomes its full and its protected version."""
    found: dict[str, Tensor] = {}

    def watch(name: str, block: nn.Module) -> None:
        block.register_forward_hook(lambda _, inputs, output: found.update({name: output - inputs[0]}))

    for name, module in network.named_modules():
        if isinstance(module, Bottleneck):
            watch(name, module)
    y, _ = network.analyse(x, torch.tensor([QUALITY]))
    for strength in (0.0, 1.0):
        network.synthesise(y, Condition(strength, machine=0.0, short_side=SIDE, quality=QUALITY).tensor(SIDE))
    return found


@torch.no_grad()
def test_no_block_of_the_shipped_codec_is_dead():
    network = zoo.load(zoo.DEFAULT_MODEL, precision="float32").network
    assert isinstance(network, PsicNetwork)
    blocks = added(network, to_tensor(read_rgb(SAMPLE)[:SIDE, :SIDE].copy())[None])
    assert {name.split(".")[0] for name in blocks} == {"g_a", "g_s"}
    for name, change in blocks.items():
        varying = change - change.mean((2, 3), keepdim=True)
        assert varying.square().mean() > LEAST_ALIVE * change.square().mean(), name
