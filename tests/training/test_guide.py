"""Where a guide begins."""

import pytest
import torch

from psic_cli.errors import InputError
from psic_cli.networks.guide import STAGES
from psic_cli.training import guide
from psic_cli.training.guide import guide_from
from psic_cli.vlp.interface import load_vlp
from tests.training.models import SmallModel


def test_a_guide_sees_what_the_witness_sees_before_its_last_stage():
    witness, made = load_vlp("witness:lite0", "cpu"), guide_from("witness:lite0")
    x = torch.rand(1, 3, 224, 224)
    tower = witness.tower  # type: ignore[attr-defined]
    with torch.no_grad():
        theirs = tower.bn1(tower.conv_stem(2 * x - 1))
        for stage in list(tower.blocks)[: len(STAGES)]:
            theirs = stage(theirs)
        torch.testing.assert_close(made.features(x).last, theirs, atol=1e-3, rtol=1e-3)


def test_other_models_cannot_become_a_guide(monkeypatch):
    monkeypatch.setattr(guide, "load_vlp", lambda spec, device: SmallModel(spec))
    with pytest.raises(InputError, match="EfficientNet-Lite0"):
        guide_from("fake:one")


def test_a_witness_of_another_size_cannot_become_a_guide():
    with pytest.raises(InputError, match="EfficientNet-Lite0"):
        guide_from("witness:lite2")
