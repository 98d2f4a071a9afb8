"""Where a guide begins, and that it is trained."""

import pytest
import torch

from psic_cli.errors import InputError
from psic_cli.networks.guide import STAGES
from psic_cli.training import guide, protection
from psic_cli.training.guide import guide_from
from psic_cli.training.loop import Run
from psic_cli.training.optimiser import Optimiser, matrix_weights
from psic_cli.training.protection import ProtectionStage
from psic_cli.vlp.interface import load_vlp
from tests import needs
from tests.networks.guides import untrained_guide
from tests.training.models import SmallModel
from tests.training.test_protection import changed, frozen_parts


def test_a_guide_sees_what_the_witness_sees_before_its_last_stage():
    witness, made = load_vlp("witness:lite0", "cpu"), guide_from("witness:lite0", steps=3)
    x = torch.rand(1, 3, 224, 224)
    tower = witness.tower  # type: ignore[attr-defined]
    with torch.no_grad():
        theirs = tower.conv_stem(2 * x - 1)
        for stage in list(tower.blocks)[: len(STAGES)]:
            theirs = stage(theirs)
        torch.testing.assert_close(made.features(x).last, theirs, atol=1e-3, rtol=1e-3)


def test_other_models_cannot_become_a_guide(monkeypatch):
    monkeypatch.setattr(guide, "load_vlp", lambda spec, device: SmallModel(spec))
    with pytest.raises(InputError, match="EfficientNet-Lite0"):
        guide_from("fake:one", steps=3)


def test_a_witness_of_another_size_cannot_become_a_guide():
    with pytest.raises(InputError, match="EfficientNet-Lite0"):
        guide_from("witness:lite2", steps=3)


@needs.COMPRESSAI
@pytest.mark.usefixtures("small_scale")
@pytest.mark.parametrize("side", [64, 96])
def test_a_guide_is_trained_with_the_synthesis(protected_config, tmp_path, monkeypatch, side):
    monkeypatch.setattr("psic_cli.networks.thumbnails.THUMBNAIL", 64)
    monkeypatch.setattr(protection, "SIDES", [side])
    monkeypatch.setattr(protection, "guide_from", lambda spec, steps: untrained_guide())
    run = Run(changed(protected_config, guide="some tower"), tmp_path, "cpu")
    stage = ProtectionStage(run, fresh=True)
    assert run.network.config.guide
    before = frozen_parts(run.network)
    optimiser = Optimiser(stage.parameter_groups(), matrix_weights(run.network))
    loss, _ = stage.loss()
    loss.backward()
    trained = run.network.guide
    assert trained is not None
    gradients = {name: weight.grad for name, weight in trained.named_parameters() if weight.grad is not None}
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    silent = {name for name, _ in trained.named_parameters()} - set(gradients)
    assert silent == {name for name, _ in trained.named_parameters() if ".look." in name}
    optimiser.step()
    assert all(torch.equal(value, before[key]) for key, value in frozen_parts(run.network).items())

    x, level = stage.held_out[:2], torch.tensor([10, 60])
    public = stage.versions.latents(x, level).public
    x = x[..., :side, :side]
    with torch.no_grad():  # what a decoder makes of the same latents
        x_protected, _ = stage.versions.protected(public, (side, side), level)
        condition = stage.versions.condition((side, side), level, torch.ones(2, 1))
        torch.testing.assert_close(run.network.picture(public, condition, side, side), x_protected)

    run.save()
    resumed = Run(protected_config, tmp_path, "cpu")
    resumed.load()
    assert resumed.network.guide is not None
    for key, value in trained.state_dict().items():
        assert torch.equal(value, resumed.network.guide.state_dict()[key])
