"""A run that goes on from an exported model."""

import dataclasses
from pathlib import Path

import torch

from psic_cli import zoo
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.entropy_model import clamp_z
from psic_cli.training.config import TrainingConfig
from psic_cli.training.export import export
from psic_cli.training.loop import Run
from tests import needs
from tests.networks.guides import untrained_guide

pytestmark = needs.COMPRESSAI


def with_one_synthesis(folder: Path) -> Run:
    """An untrained network of the tiny model's sizes."""
    config = dataclasses.replace(zoo.load("tiny").network.config, own_synthesis=False)
    return Run(TrainingConfig(network=config), folder / "first", "cpu")


def test_a_run_starts_with_the_network_that_was_exported(tiny_models, tmp_path):
    card = zoo.read_card(tiny_models / "tiny")
    config = TrainingConfig(start_from=str(card.path), network=NetworkConfig(**card.data["network"]))
    trained = zoo.load("tiny", precision="float32", integers="float64").network
    started = Run(config, tmp_path, "cpu").network.eval()
    x = torch.rand(1, 3, 128, 64)
    quality = torch.tensor([0.4])
    y, z = trained.analyse(x, quality)
    assert torch.allclose(started.analyse(x, quality)[0], y, atol=1e-4)
    for level in (torch.tensor([0]), torch.tensor([27]), torch.tensor([63])):
        mine, theirs = started.predict(clamp_z(z), level), trained.predict(clamp_z(z).double(), level)
        assert torch.equal(mine.mean.double(), theirs.mean)
        assert torch.equal(mine.index.double(), theirs.index)


def test_a_run_takes_over_the_synthesis_of_the_protected_version(tiny_models, tmp_path):
    made = with_one_synthesis(tmp_path)
    made.network.give_own_synthesis()
    assert made.network.g_p is not None
    torch.nn.init.constant_(made.network.g_p.get_parameter("to_pixels.bias"), 0.25)
    folder = export(made.network, made.rate, tmp_path / "models" / "own", "own")
    started = Run(TrainingConfig(start_from=str(folder)), tmp_path / "second", "cpu")
    started.folder.mkdir()
    started.save()
    resumed = Run(
        TrainingConfig(network=dataclasses.replace(started.network.config, own_synthesis=False)), tmp_path, "cpu"
    )
    resumed.folder = started.folder
    resumed.load()
    for run in (started, resumed):
        assert run.network.config.own_synthesis
        assert run.network.g_p is not None
        assert (run.network.g_p.get_parameter("to_pixels.bias") == 0.25).all()
        assert not (run.network.g_s.get_parameter("to_pixels.bias") == 0.25).any()


def test_a_run_that_gave_up_the_protected_versions_synthesis_can_go_on(tiny_models, tmp_path):
    made = with_one_synthesis(tmp_path)
    made.network.give_own_synthesis()
    config = TrainingConfig(start_from=str(export(made.network, made.rate, tmp_path / "models" / "own", "own")))
    started = Run(config, tmp_path, "cpu")
    started.network.forget_conditions()  # as a stage that starts afresh does
    started.save()
    resumed = Run(config, tmp_path, "cpu")
    resumed.load()
    assert resumed.network.g_p is None
    assert not resumed.network.config.own_synthesis


def test_a_run_takes_over_the_guide(tiny_models, tmp_path):
    made = with_one_synthesis(tmp_path)
    made.network.give_guide(untrained_guide())
    folder = export(made.network, made.rate, tmp_path / "models" / "guided", "guided")
    started = Run(TrainingConfig(start_from=str(folder)), tmp_path, "cpu").network
    assert started.config.guide
    assert started.guide is not None
    assert made.network.guide is not None
    for name, value in made.network.guide.state_dict().items():
        torch.testing.assert_close(started.guide.state_dict()[name], value, atol=1e-3, rtol=1e-3)  # stored in float16


def test_a_run_that_gave_up_the_guide_can_go_on(tiny_models, tmp_path):
    made = with_one_synthesis(tmp_path)
    made.network.give_guide(untrained_guide())
    config = TrainingConfig(start_from=str(export(made.network, made.rate, tmp_path / "models" / "guided", "guided")))
    started = Run(config, tmp_path, "cpu")
    started.network.forget_conditions()  # as a stage that starts afresh does
    started.network.give_own_synthesis()
    started.save()
    resumed = Run(config, tmp_path, "cpu")
    resumed.load()
    assert resumed.network.g_p is not None
    assert resumed.network.guide is None
    assert not resumed.network.config.guide
