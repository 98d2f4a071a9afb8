"""A run that goes on from an exported model."""

import torch

from psic_cli import zoo
from psic_cli.networks.network import NetworkConfig, clamp_z
from psic_cli.training.config import TrainingConfig
from psic_cli.training.loop import Run


def test_a_run_starts_with_the_network_that_was_exported(tiny_models, tmp_path):
    card = zoo.read_card(tiny_models / "tiny")
    config = TrainingConfig(start_from=str(card.path), network=NetworkConfig(**card.data["network"]))
    trained = zoo.load("tiny", precision="float32").network
    started = Run(config, tmp_path, "cpu").network.eval()
    x = torch.rand(1, 3, 128, 64)
    y, z = trained.analyse(x)
    assert torch.allclose(started.analyse(x)[0], y, atol=1e-4)
    for level in (torch.tensor([0]), torch.tensor([27]), torch.tensor([63])):
        mine, theirs = started.predict(clamp_z(z), level), trained.predict(clamp_z(z).double(), level)
        assert torch.equal(mine.mean.double(), theirs.mean)
        assert torch.equal(mine.index.double(), theirs.index)
