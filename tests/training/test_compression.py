"""The first stage: rate and distortion."""

import dataclasses

import pytest
import torch

from psic_cli.training import compression
from psic_cli.training.compression import CompressionStage, RoundingStage, lambda_of
from psic_cli.training.run import Run

TOP = 63  # of the quality levels


def test_lambda_is_log_spaced():
    values = lambda_of(torch.arange(3), 0.01, 1.0, 3)
    torch.testing.assert_close(values, torch.tensor([0.01, 0.1, 1.0]))


@pytest.mark.parametrize("level", [0, 21, TOP])
def test_the_loss_is_rate_and_distortion_and_relative_to_the_size_of_files(config, tmp_path, monkeypatch, level):
    made = CompressionStage(Run(config, tmp_path, "cpu"))
    monkeypatch.setattr(torch, "randint", lambda _, size, device: torch.full(size, level))
    loss, figures = made.loss()
    weight = 0.0008 * (0.08 / 0.0008) ** (level / TOP)
    expected = (figures["bpp"] + weight * figures["mse255"]) * (0.008 / weight) ** 0.4
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_conditions_learn_nothing_from_it(config, tmp_path):
    made = CompressionStage(Run(config, tmp_path, "cpu"))
    cltg = made.run.network.g_s.cltg
    with torch.no_grad():
        for head in cltg.heads.parameters():
            head.normal_()
    made.loss()[0].backward()
    assert not any(p.grad is not None and p.grad.any() for p in cltg.parameters())


def test_the_tables_are_counted_anew_with_the_trained_weights(config, tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "COUNTED", 3)
    made = CompressionStage(Run(config, tmp_path, "cpu"))
    counts = made.run.rate.counts
    counts[:, 7] += 1e6
    made.finish()
    latents = 3 * made.run.network.config.latents * config.compression.batch * config.compression.crop**2 // 16**2
    assert counts.sum().item() == latents


def test_validation_says_what_rounded_latents_cost_and_how_many_units_are_dead(config, tmp_path):
    made = CompressionStage(Run(config, tmp_path, "cpu"))
    made.begin()
    first, again = made.validate(), made.validate()
    assert first == again  # no noise
    assert {"bpp8", "psnr32", "dead_units"} <= first.keys()
    assert made.run.rate.training
    with torch.no_grad():
        made.run.network.h_s.convolutions()[0].bias[:3] = -1e4
    assert made.validate()["dead_units"] >= first["dead_units"] + 3


def test_the_rounding_stage_moves_what_decoders_have_and_nothing_else(config, tmp_path):
    run = Run(dataclasses.replace(config, rounding=config.compression), tmp_path, "cpu")
    made = RoundingStage(run)
    made.begin()
    loss, _ = made.loss()
    loss.backward()
    moved = {id(p) for p in made.trained()}
    for name, parameter in run.network.named_parameters():
        encoder = name.startswith(("g_a.", "h_a."))
        assert (id(parameter) in moved) is not encoder
        assert not (encoder and parameter.grad is not None)
    x, level = made.source.next_batch(), torch.tensor([5, 50])
    assert torch.equal(made.cost(x, level)[1], made.cost(x, level)[1])  # no noise
    assert run.network.h_s.convolutions()[0].weight.grad is not None


@pytest.mark.compile
def test_the_loss_is_the_same_by_torch_compile(config, tmp_path):
    plain = CompressionStage(Run(config, tmp_path, "cpu"))
    compiled = CompressionStage(Run(dataclasses.replace(config, compile=True), tmp_path, "cpu"))
    compiled.run.network.load_state_dict(plain.run.network.state_dict())
    x, level = plain.source.next_batch(), torch.tensor([5, 50])
    found = []
    for stage in (plain, compiled):
        stage.run.rate.eval()  # without noise; a few symbols may be rounded the other way
        stage._cost(x, level)[0].backward()
        found.append((*stage._cost(x, level), stage.run.network.g_a.stem.weight.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02 * float(one.abs().max()))
    compiled.run.rate.train()
    assert compiled.loss()[0].isfinite()


def test_without_a_compiler_training_goes_on_and_says_so_in_one_line(config, tmp_path, monkeypatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler\nlong trace")

    monkeypatch.setattr(torch, "compile", broken)
    stage = CompressionStage(Run(dataclasses.replace(config, compile=True), tmp_path, "cpu"))
    assert stage.loss()[0].isfinite()
    (record,) = caplog.records
    assert record.getMessage() == "training without torch.compile, which is slower: no C++ compiler"
