"""The first stage: rate and distortion."""

import pytest
import torch

from psic_cli.training import compression
from psic_cli.training.compression import CompressionStage, lambda_of
from psic_cli.training.run import Run
from tests import needs

pytestmark = needs.COMPRESSAI

TOP = 63  # of the quality levels


def test_lambda_is_log_spaced():
    values = lambda_of(torch.arange(3), 0.01, 1.0, 3)
    torch.testing.assert_close(values, torch.tensor([0.01, 0.1, 1.0]))


@pytest.mark.parametrize("level", [0, 21, TOP])
def test_the_loss_is_rate_and_distortion_and_relative_to_the_size_of_files(config, tmp_path, monkeypatch, level):
    made = CompressionStage(Run(config, tmp_path, "cpu"), fresh=True)
    monkeypatch.setattr(torch, "randint", lambda _, size, device: torch.full(size, level))
    loss, figures = made.loss()
    weight = 0.0008 * (0.08 / 0.0008) ** (level / TOP)
    expected = (figures["bpp"] + weight * figures["mse255"]) * (0.008 / weight) ** 0.4
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_conditions_learn_nothing_from_it(config, tmp_path):
    made = CompressionStage(Run(config, tmp_path, "cpu"), fresh=True)
    cltg = made.run.network.g_s.cltg
    with torch.no_grad():
        for head in cltg.heads.parameters():
            head.normal_()
    made.loss()[0].backward()
    assert not any(p.grad is not None and p.grad.any() for p in cltg.parameters())


def test_the_tables_are_counted_anew_with_the_trained_weights(config, tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "COUNTED", 3)
    made = CompressionStage(Run(config, tmp_path, "cpu"), fresh=True)
    made.loss()
    counts = made.run.rate.counts
    counts[:, 7] += 1e6
    made.finish()
    latents = (
        3 * made.run.network.config.latents * config.compression.batch * config.compression.crop**2 // 16**2
    )  # in three batches of one crop
    assert counts.sum().item() == pytest.approx(latents, rel=0.01)  # what was counted first fades
