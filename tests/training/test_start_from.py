"""A run that goes on from an exported model."""

import torch

from psic_cli import zoo
from psic_cli.networks.backbone import clamp_z
from psic_cli.networks.cltg import Condition
from psic_cli.networks.network import PsicNetwork
from psic_cli.training.config import TrainingConfig
from psic_cli.training.export import export
from psic_cli.training.rate import RateModel
from psic_cli.training.run import Run
from tests.training.conftest import SMALL


def test_a_run_starts_with_the_network_that_was_exported(tmp_path):
    torch.manual_seed(1)
    network = PsicNetwork(SMALL)
    with torch.no_grad():
        for head in network.g_s.cltg.heads.parameters():
            head.normal_(0, 0.3)
        for _, layer in network.integer_layers():
            layer.bias.add_(0.2 * torch.randn_like(layer.bias))
    folder = export(network.eval(), RateModel(SMALL), tmp_path / "model", "model")
    trained = zoo.load_card(zoo.read_card(folder), precision="float32", integers="float64").network
    started = Run(TrainingConfig(start_from=str(folder)), tmp_path, "cpu").network.eval()
    assert started.config == SMALL  # the model's sizes, whatever the configuration says
    x, quality = torch.rand(1, 3, 128, 64), torch.tensor([0.4])
    condition = Condition(strength=1.0, machine=0.0, short_side=224, quality=0.4).tensor(224)
    with torch.no_grad():
        y, z = trained.analyse(x, quality)
        torch.testing.assert_close(started.analyse(x, quality)[0], y, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(started.synthesise(y, condition), trained.synthesise(y, condition))
        for level in (torch.tensor([0]), torch.tensor([27]), torch.tensor([63])):
            mine, theirs = started.predict(clamp_z(z), level), trained.predict(clamp_z(z).double(), level)
            assert torch.equal(mine.mean.double(), theirs.mean)
            assert torch.equal(mine.index.double(), theirs.index)
