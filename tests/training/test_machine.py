"""The machine version's turn in the second stage: at which qualities it is learned, and what is read of it."""

import pytest
import torch

from psic_cli.training.loop import Run
from psic_cli.training.protection import ProtectionStage
from tests import needs

pytestmark = [needs.COMPRESSAI, pytest.mark.usefixtures("small_scale")]


def test_what_happens_to_pictures_happens_to_the_machine_version_too(protected_config, tmp_path, monkeypatch):
    stage = ProtectionStage(Run(protected_config, tmp_path, "cpu"), fresh=True)
    travelled: list[str | None] = []

    def travel(x: torch.Tensor) -> torch.Tensor:
        travelled.append(stage._turn)
        return x

    monkeypatch.setattr(stage, "journey", travel)
    for _ in range(2):
        stage.loss()
    assert travelled == ["machine", "machine", None]  # the protected version's, and the machine's in its turn


def test_the_machine_versions_turn_draws_low_qualities_more_often(protected_config, tmp_path):
    stage = ProtectionStage(Run(protected_config, tmp_path, "cpu"), fresh=True)
    config = stage.run.network.config
    assert 0 < config.machine_below < config.levels  # from there on it is the full version
    for steps, below, in_lower_half in (
        (3, config.machine_below, 0.5 ** (1 / 2.5)),
        (4, config.levels, 0.5),
        (5, config.levels, 0.5),
    ):
        stage.steps = steps
        drawn = stage._draw_levels(10_000)
        assert [int(drawn.min()), int(drawn.max())] == [0, below - 1]
        assert (drawn < below / 2).float().mean().item() == pytest.approx(in_lower_half, abs=0.03)
