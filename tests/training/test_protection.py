"""The protection stage with small made-up models to protect against."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from psic_cli import codec, zoo
from psic_cli.codec import Version
from psic_cli.networks.network import PsicNetwork
from psic_cli.picture import Picture
from psic_cli.training import protection
from psic_cli.training.export import export
from psic_cli.training.loop import Run, train
from psic_cli.training.losses import Budget, recognition, shown
from psic_cli.training.protection import ProtectionStage
from tests.training.conftest import smooth_picture
from tests.training.test_loop import check_same, train_with_stop


class SmallModel:
    """Looks at an 8x8 thumbnail through fixed random numbers."""

    def __init__(self, name: str) -> None:
        self.name = name
        generator = torch.Generator().manual_seed(len(name))
        self.weight = torch.randn(3 * 8 * 8, 16, generator=generator)
        torch.rand(5)  # as real models do, making it draws from the common generator

    def encode_image(self, pictures: torch.Tensor) -> torch.Tensor:
        thumbnail = torch.nn.functional.adaptive_avg_pool2d(pictures.float(), 8).flatten(1)
        return torch.nn.functional.normalize((thumbnail - 0.5) @ self.weight, dim=1)

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _small_scale(monkeypatch):
    monkeypatch.setattr(protection, "load_vlp", lambda spec, device: SmallModel(spec))
    monkeypatch.setattr(protection, "SIDES", [64, 96])
    monkeypatch.setattr(protection, "PIXELS", 2 * 96 * 96)


def frozen_parts(network: PsicNetwork) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items() if not key.startswith("g_s.")}


@pytest.mark.slow
def test_a_stopped_run_ends_where_an_uninterrupted_one_does(protected_config, tmp_path, monkeypatch):
    whole = train(protected_config, tmp_path / "whole")
    stopped = train_with_stop(protected_config, tmp_path / "stopped", ProtectionStage, 3, monkeypatch)
    check_same(stopped, whole)
    assert whole.finished == ["protection"]
    config = whole.network.config
    assert 1 <= config.private < config.latents
    assert config.largest_side == 96

    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text("utf-8").splitlines()]
    results = [line["validation"] for line in lines if "validation" in line][-1]
    for version in ("full", "protected", "machine", "forced"):
        for level in (8, 32, 56):
            assert 5 < results[f"{version}{level}_psnr"] < 60
            assert -1 <= results[f"{version}{level}_cosine"] <= 1.0001

    # the model that comes out seals what was chosen, and its versions differ
    export(whole.network, whole.rate, tmp_path / "models" / "trained", "trained")
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "models"))
    picture = Picture(smooth_picture(7, 70, 90))
    data = codec.encode(picture, bytes(32), model=zoo.load("trained"), quality=100)
    versions = [codec.decode(data, bytes(32), version=version).rgb for version in Version]
    assert versions[0].shape == (70, 90, 3)
    assert (versions[0] != versions[1]).any()
    assert np.abs(versions[1].astype(int) - picture.rgb).mean() < 20


def test_steps_between_the_stages_draw_the_same_numbers_after_a_restart(protected_config, tmp_path, monkeypatch):
    monkeypatch.setattr(ProtectionStage, "validate", lambda self: {})  # it takes its time
    compression = dataclasses.replace(protected_config.compression, steps=2)
    short = dataclasses.replace(protected_config.protection, steps=2)
    both = dataclasses.replace(protected_config, compression=compression, protection=short)
    first = dataclasses.replace(both, protection=dataclasses.replace(short, steps=0))
    whole = train(both, tmp_path / "whole")
    train(first, tmp_path / "halves")
    torch.manual_seed(12345)
    check_same(train(both, tmp_path / "halves"), whole)


def test_the_bits_stay_what_they_are(protected_config, tmp_path):
    run = Run(protected_config, tmp_path, "cpu")
    stage = ProtectionStage(run, fresh=True)
    before = frozen_parts(run.network)
    optimiser = torch.optim.AdamW(stage.parameter_groups(), lr=1e-3)
    for _ in range(2):
        loss, _ = stage.loss()
        loss.backward()
        optimiser.step()
    for key, value in frozen_parts(run.network).items():
        assert torch.equal(value, before[key]), key
    assert [name for name, parameter in run.network.named_parameters() if parameter.grad is not None] == [
        name for name, _ in run.network.named_parameters() if name.startswith("g_s.")
    ]


def test_the_protected_decode_has_no_sealed_latents(protected_config, tmp_path):
    run = Run(protected_config, tmp_path, "cpu")
    stage = ProtectionStage(run, fresh=True)
    private = run.network.config.private
    x = stage.source.next_batch(2 * 96 * 96)
    level = torch.full((len(x),), 60)
    with torch.no_grad():
        full, public = stage._latents(x, level)
        y, z = run.network.analyse(
            torch.nn.functional.pad(x, (0, -x.shape[3] % 64, 0, -x.shape[2] % 64), mode="replicate")
        )
        mean, _ = run.network.predict(torch.floor(z + 0.5), level)
        means = run.network.restore(torch.zeros_like(y), mean, level)
    assert torch.equal(full[:, :-private], public[:, :-private])
    assert not torch.equal(full[:, -private:], public[:, -private:])
    torch.testing.assert_close(public[:, -private:], means[:, -private:])


def test_machine_and_forced_decodes_take_turns(protected_config, tmp_path, monkeypatch):
    stage = ProtectionStage(Run(protected_config, tmp_path, "cpu"), fresh=True)
    conditions = []
    original = stage._decode

    def remember(y_hat, strength, machine, scale):
        conditions.append((float(strength.max()), float(machine.max())))
        return original(y_hat, strength, machine, scale)

    monkeypatch.setattr(stage, "_decode", remember)
    extra = []
    for _ in range(8):
        conditions.clear()
        loss, figures = stage.loss()
        assert loss.isfinite()
        assert set(figures) == {"full", "protected", "cosine", "budget_weight"}
        assert conditions[0] == (0.0, 0.0)  # full
        assert conditions[1][0] > 0  # protected
        extra.append(conditions[2:])
    machine, forced = [(0.0, 1.0)], [(0.0, 0.0)]
    assert extra == [machine, [], forced, [], machine, [], forced, []]


def cosine_of_the_protected_version(stage: ProtectionStage, x: torch.Tensor) -> float:
    one = torch.ones(len(x), 1)
    with torch.no_grad():
        _, public = stage._latents(x, torch.full((len(x),), 40))
        decoded = stage._decode(public, one, 0 * one, torch.full_like(one, math.log2(x.shape[2] / 224)))
        return recognition(stage.vlps, shown(decoded), [vlp.encode_image(x) for vlp in stage.vlps]).mean().item()


@pytest.mark.parametrize(("weight", "lowest", "highest"), [(0.0, -1.0, 0.6), (5.0, 0.9, 1.0)])
def test_how_far_the_shield_goes_is_a_matter_of_the_budget(protected_config, tmp_path, weight, lowest, highest):
    run = Run(protected_config, tmp_path, "cpu")
    stage = ProtectionStage(run, fresh=True)
    stage.budgets = [Budget(weight=weight, pace=0.0, lowest=0.0) for _ in stage.budgets]
    x = stage.source.next_batch(4 * 96 * 96)
    assert cosine_of_the_protected_version(stage, x) > 0.9
    optimiser = torch.optim.AdamW(stage.parameter_groups(), lr=3e-3)
    for _ in range(55):
        loss, _ = stage.loss()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(run.network.g_s.parameters(), 1.0)
        optimiser.step()
    assert lowest <= cosine_of_the_protected_version(stage, x) <= highest


def test_each_range_of_qualities_has_a_budget_of_its_own(protected_config, tmp_path, monkeypatch):
    stage = ProtectionStage(Run(protected_config, tmp_path, "cpu"), fresh=True)
    monkeypatch.setattr(torch, "randint", lambda highest, shape, device: torch.full(shape, 17))  # the second of four
    monkeypatch.setattr(torch, "rand_like", torch.zeros_like)  # all at full strength
    before = [budget.weight for budget in stage.budgets]
    stage.loss()
    after = [budget.weight for budget in stage.budgets]
    assert [a != b for a, b in zip(after, before, strict=True)] == [False, True, False, False]
