"""The first stage's loss: rate, distortion, and what models read in the full version."""

import dataclasses

import pytest
import torch

from psic_cli.training import compression
from psic_cli.training.compression import CompressionStage
from psic_cli.training.config import TrainingConfig
from psic_cli.training.data import CropSource
from psic_cli.training.export import export
from psic_cli.training.loop import Run
from tests import needs

pytestmark = needs.COMPRESSAI

TOP = 63  # of the quality levels


def stage(config: TrainingConfig, folder, readable: float) -> CompressionStage:
    config = dataclasses.replace(
        config,
        compression=dataclasses.replace(config.compression, readable=readable, batch=1),
        protection=dataclasses.replace(config.protection, vlps=["fake:one", "fake:two"]),
    )
    return CompressionStage(Run(config, folder, "cpu"), fresh=True)


def loss_at(made: CompressionStage, level: int, monkeypatch) -> tuple[torch.Tensor, dict[str, float]]:
    """Of the same batch with the same noise each time."""
    made.source.load_state(CropSource(made.source.pictures, [64], seed=7).state())
    monkeypatch.setattr(torch, "randint", lambda _, size, device: torch.full(size, level))
    torch.manual_seed(6)
    return made.loss()


@pytest.mark.parametrize(("level", "share"), [(0, 0.0), (21, 2 / 3), (TOP, 1.0)])
def test_what_models_misread_counts_in_shares_of_the_square_error_and_less_at_low_quality(
    config, small_scale, tmp_path, monkeypatch, level, share
):
    blind, reading = (stage(config, tmp_path, readable) for readable in (0.0, 3.0))
    reading.run.network.load_state_dict(blind.run.network.state_dict())
    reading.run.rate.load_state_dict(blind.run.rate.state_dict())
    (plain, figures), (with_reading, more) = (loss_at(made, level, monkeypatch) for made in (blind, reading))
    assert figures == {key: more[key] for key in figures}
    weight = 0.0008 * (0.08 / 0.0008) ** (level / TOP)
    scale = weight * (0.008 / weight) ** 0.4
    added = share * 3.0 * more["misread"] * scale * more["mse255"]
    assert more["misread"] > 0.001
    assert (with_reading - plain).item() == pytest.approx(added, rel=1e-3, abs=1e-6)


def test_encoder_and_synthesis_learn_what_models_read(config, small_scale, tmp_path, monkeypatch):
    gradients = []
    for readable in (0.0, 3.0):
        made = stage(config, tmp_path, readable)
        loss_at(made, TOP, monkeypatch)[0].backward()
        gradients.append([made.run.network.g_a.stem.weight.grad, made.run.network.g_s.to_pixels.weight.grad])
    for without, reading in zip(*gradients, strict=True):
        assert without is not None
        assert reading is not None
        assert not torch.equal(without, reading)


def test_what_looks_at_sealed_symbols_learns_if_it_was_there_from_the_start(config, small_scale, tmp_path):
    for private in (0, 3):
        made = stage(
            dataclasses.replace(config, network=dataclasses.replace(config.network, private=private)), tmp_path, 0.0
        )
        made.run.network.g_s.expect_sealed(3)  # as happens on the way
        assert made.run.network.g_s.from_sealed is not None
        weight = made.run.network.g_s.from_sealed.weight
        assert any(p is weight for group in made.parameter_groups() for p in group["params"]) is bool(private)


def test_validation_tells_what_models_misread_if_training_asks_them(config, small_scale, tmp_path):
    assert {"bpp32", "psnr32", "misread32"} < stage(config, tmp_path, 1.0).validate().keys()
    assert "misread32" not in stage(config, tmp_path, 0.0).validate()


def test_the_other_versions_take_over_what_the_full_one_has_learned(config, small_scale, tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "COUNTED", 1)
    made = Run(config, tmp_path, "cpu")
    made.network.give_own_synthesis()
    assert made.network.g_p is not None
    torch.nn.init.constant_(made.network.g_p.get_parameter("to_pixels.bias"), 0.25)
    folder = export(made.network, made.rate, tmp_path / "models" / "own", "own")
    going_on = stage(dataclasses.replace(config, start_from=str(folder)), tmp_path, 0.0)
    network = going_on.run.network
    assert network.g_p is not None
    with torch.no_grad():
        network.g_s.get_parameter("to_pixels.bias").add_(0.5)
    before = {name: value.clone() for name, value in network.g_p.named_parameters()}
    going_on.finish()
    for name, value in network.g_p.named_parameters():
        torch.testing.assert_close(value, before[name] + (0.5 if name == "to_pixels.bias" else 0.0))


def test_the_tables_are_counted_anew_with_the_trained_weights(config, small_scale, tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "COUNTED", 3)
    made = stage(config, tmp_path, 0.0)
    made.loss()
    counts = made.run.rate.counts
    counts[:, 7] += 1e6
    made.finish()
    latents = 3 * made.run.network.config.latents * config.compression.crop**2 // 16**2  # in three batches of one crop
    assert counts.sum().item() == pytest.approx(latents, rel=0.01)  # what was counted first fades
