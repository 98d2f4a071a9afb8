"""CLTG on top of another codec's network: its conditions are learned, and nothing else changes."""

import dataclasses
import json
from typing import Any

import pytest
import torch

from psic_cli import codec, zoo
from psic_cli.backbones.architectures import CHANDELIER, CHEQUERBOARD, MEAN
from psic_cli.codec import Version
from psic_cli.errors import InputError, ModelError
from psic_cli.picture import Picture
from psic_cli.training.conditions import ConditionsStage
from psic_cli.training.export import export_steered
from psic_cli.training.recipe import train
from psic_cli.training.run import Run
from tests.backbones import made
from tests.cli.run import psic
from tests.training.conftest import smooth_picture
from tests.training.test_recipe import check_same, train_with_stop

pytestmark = pytest.mark.usefixtures("small_scale")

VERSIONS = {"full": (0.0, 0.0), "protected": (1.0, 0.0), "machine": (0.0, 1.0)}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's own folder of models."""
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def config(own, conditions_config):
    """A few steps on top of a network of CompressAI; stages that cannot be trained are left out."""
    folder = added(own, MEAN)
    stage = dataclasses.replace(conditions_config.conditions, learning_rate=0.03)
    compression = dataclasses.replace(conditions_config.compression, steps=5)
    network = dataclasses.replace(conditions_config.network, cltg_hidden=16)
    return dataclasses.replace(
        conditions_config, start_from=str(folder), conditions=stage, compression=compression, network=network
    )


def added(own, architecture, name="mine"):
    """The folder of a model of that architecture."""
    path = made.save_state(made.state_of(architecture))
    assert psic("models", "add", f"compressai:{architecture}", path, "--name", name).code == 0
    return own / name


def decoded(data):
    return {
        name: codec.decode(data, bytes(32), version=Version.FULL, condition=asked).rgb
        for name, asked in VERSIONS.items()
    }


def test_a_stopped_run_ends_where_an_uninterrupted_one_does(config, tmp_path, own, monkeypatch):
    whole = train(config, tmp_path / "whole")
    stopped = train_with_stop(config, tmp_path / "stopped", ConditionsStage, 3, monkeypatch)
    check_same(stopped, whole)
    assert whole.finished == ["conditions"]
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text("utf-8").splitlines()]
    results = [line["validation"] for line in lines if "validation" in line][-1]
    assert {"full0_psnr", "protected0_cosine", "machine0_agree"} <= results.keys()

    start = zoo.find_card("mine")
    unsteered: Any = zoo.load_card(start).network
    after = whole.network.state_dict()
    assert all(torch.equal(value.double(), after[key].double()) for key, value in unsteered.state_dict().items())

    export_steered(whole.network, start, own / "steered", "steered", {"finished_stages": whole.finished})
    card = zoo.find_card("steered")
    assert card.data["architecture"] == start.data["architecture"]
    assert card.data["made_of"] == start.data["made_of"]
    assert zoo.family_of(card) == [card.weights_hash.hex()]
    assert card.data["network"]["largest_side"] == 96
    model, original = zoo.load("steered"), zoo.load("mine")
    picture = Picture(smooth_picture(7, 70, 90))
    data, plain = (codec.encode(picture, bytes(32), model=m, strength=0, effort=0) for m in (model, original))
    versions = decoded(data)
    assert (versions["full"] == decoded(plain)["full"]).all()
    assert (versions["full"] != versions["protected"]).any()
    assert (versions["full"] != versions["machine"]).any()
    assert (versions["protected"] != versions["machine"]).any()


@pytest.mark.parametrize("architecture", [CHEQUERBOARD, CHANDELIER])
def test_an_untrained_cltg_fits_every_synthesis_and_changes_nothing(config, own, tmp_path, architecture):
    folder = added(own, architecture, "other")
    run = Run(dataclasses.replace(config, start_from=str(folder)), tmp_path, "cpu")
    original: Any = zoo.load("other").network
    y_hat, level = 20 * torch.randn(2, original.sizes.latents, 4, 8), torch.zeros(1, dtype=torch.long)
    asked = torch.tensor([[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.5]])
    with torch.no_grad():
        assert torch.equal(run.network.synthesise(y_hat, asked), original.synthesise(y_hat, asked))
        for head in run.network.cltg.heads.parameters():
            head.normal_()
        steered = run.network.synthesise(y_hat, asked)
        full = run.network.synthesise(y_hat, run.network.condition(0.0, 0.0, 224, level).expand(2, -1))
        plain = original.synthesise(y_hat, asked)
    assert (steered != plain).flatten(1).any(1).all()
    assert torch.equal(full, plain)
    assert len(run.network.cltg.heads) == len(original.g_s.layers) - 1


def test_a_cltg_that_was_trained_before_is_gone_on_with(config, own, tmp_path):
    first = Run(config, tmp_path, "cpu")
    with torch.no_grad():
        for head in first.network.cltg.heads.parameters():
            head.normal_()
    folder = export_steered(first.network, zoo.find_card("mine"), own / "steered", "steered")
    again = Run(dataclasses.replace(config, start_from=str(folder)), tmp_path, "cpu")
    for key, value in first.network.cltg.state_dict().items():
        assert torch.equal(again.network.cltg.state_dict()[key], value.half().float())


def test_a_run_does_not_go_on_with_other_weights(config, own, tmp_path):
    run = Run(config, tmp_path, "cpu")
    run.save()
    assert psic("models", "remove", "mine").code == 0
    path = made.save_state(made.state_of(MEAN, seed=2))
    assert psic("models", "add", f"compressai:{MEAN}", path, "--name", "mine").code == 0
    with pytest.raises(ModelError, match="other weights than those that this run began with"):
        Run(config, tmp_path, "cpu").load()


def test_without_a_step_of_the_conditions_nothing_would_be_trained(config, tmp_path):
    idle = dataclasses.replace(config, conditions=dataclasses.replace(config.conditions, steps=0))
    with pytest.raises(InputError, match="nothing would be trained"):
        Run(idle, tmp_path, "cpu")
