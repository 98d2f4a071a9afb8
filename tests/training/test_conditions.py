"""The second stage, with small made-up models to mislead and to please."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from psic_cli import codec, zoo
from psic_cli.codec import Version
from psic_cli.networks.network import PsicNetwork
from psic_cli.picture import Picture
from psic_cli.training.conditions import ConditionsStage
from psic_cli.training.config import TrainingConfig
from psic_cli.training.export import export
from psic_cli.training.losses import recognition, shown
from psic_cli.training.multi_objective import Budgets
from psic_cli.training.recipe import train
from psic_cli.training.run import Run
from tests.training.conftest import smooth_picture
from tests.training.test_recipe import check_same, train_with_stop

pytestmark = pytest.mark.usefixtures("small_scale")


LEARNED = "g_s.cltg."


def changed(config: TrainingConfig, **changes: Any) -> TrainingConfig:
    """With other values for the stage."""
    return dataclasses.replace(config, conditions=dataclasses.replace(config.conditions, **changes))


def stage_of(config: TrainingConfig, folder, **changes: Any) -> ConditionsStage:
    return ConditionsStage(Run(changed(config, **changes), folder, "cpu"))


def frozen_parts(network: PsicNetwork) -> dict[str, torch.Tensor]:
    """What the stage must leave alone."""
    return {k: v.clone() for k, v in network.state_dict().items() if not k.startswith(LEARNED)}


def take_steps(stage: ConditionsStage, count: int, learning_rate: float) -> None:
    optimiser = torch.optim.AdamW(stage.parameter_groups(), lr=learning_rate)
    for _ in range(count):
        loss, _ = stage.loss()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.network.g_s.cltg.parameters(), 1.0)
        optimiser.step()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"average": 0.5, "surrogates_per_step": 1, "judges": ["fake:judge"]}])
def test_a_stopped_run_ends_where_an_uninterrupted_one_does(conditions_config, tmp_path, monkeypatch, changes):
    config = changed(conditions_config, learning_rate=0.03, **changes)
    whole = train(config, tmp_path / "whole")
    stopped = train_with_stop(config, tmp_path / "stopped", ConditionsStage, 3, monkeypatch)
    check_same(stopped, whole)
    assert whole.finished == ["conditions"]
    assert whole.network.config.largest_side == 96

    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text("utf-8").splitlines()]
    results = [line["validation"] for line in lines if "validation" in line][-1]
    suffixes = ("", "_judges") if changes else ("",)
    for version in ("full", "protected", "half", "machine"):
        for level in (8, 32, 56):
            assert 5 < results[f"{version}{level}_psnr"] < 60
            for suffix in suffixes:
                assert -1 <= results[f"{version}{level}_cosine{suffix}"] <= 1.0001
                assert 0 <= results[f"{version}{level}_agree{suffix}"] <= 1

    # the versions of the model that comes out differ
    export(whole.network, whole.rate, tmp_path / "models" / "trained", "trained")
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "models"))
    picture = Picture(smooth_picture(7, 70, 90))
    data = codec.encode(picture, bytes(32), model=zoo.load("trained"), strength=0, quality=100)
    asked = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    found = [codec.decode(data, bytes(32), version=Version.FULL, condition=condition).rgb for condition in asked]
    assert found[0].shape == (70, 90, 3)
    assert all((found[0] != other).any() for other in found[1:])
    assert np.abs(found[0].astype(int) - picture.rgb).mean() < 20


def test_steps_between_the_stages_draw_the_same_numbers_after_a_restart(conditions_config, tmp_path, monkeypatch):
    monkeypatch.setattr(ConditionsStage, "validate", lambda self: {})  # it takes its time
    compression = dataclasses.replace(conditions_config.compression, steps=2)
    short = dataclasses.replace(conditions_config.conditions, steps=2)
    both = dataclasses.replace(conditions_config, compression=compression, conditions=short)
    first = dataclasses.replace(both, conditions=dataclasses.replace(short, steps=0))
    whole = train(both, tmp_path / "whole")
    train(first, tmp_path / "halves")
    torch.manual_seed(12345)
    check_same(train(both, tmp_path / "halves"), whole)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shield": "cosine"},
        {"objective": "fixed"},
        {"objective": "mgda"},
        {"surrogates_per_step": 1},
        {"scale_condition": False},
    ],
    ids=str,
)
def test_whatever_is_chosen_the_conditions_learn_and_nothing_else(conditions_config, tmp_path, changes):
    stage = stage_of(conditions_config, tmp_path, **changes)
    network = stage.network
    before, learned = frozen_parts(network), network.g_s.cltg.state_dict()
    learned = {key: value.clone() for key, value in learned.items()}
    take_steps(stage, 3, 1e-3)
    for key, value in frozen_parts(network).items():
        assert torch.equal(value, before[key]), key
    assert all(name.startswith(LEARNED) for name, p in network.named_parameters() if p.grad is not None)
    assert all(value.isfinite().all() for value in network.g_s.cltg.state_dict().values())
    assert not all(torch.equal(value, learned[key]) for key, value in network.g_s.cltg.state_dict().items())
    assert network.config.largest_side == (96 if stage.config.scale_condition else 64)


def test_the_full_version_stays_what_compression_has_made_of_it(conditions_config, tmp_path):
    stage = stage_of(conditions_config, tmp_path)
    x, level = stage.held_out[64], torch.tensor([3, 20, 40, 60])
    none = torch.zeros(4)

    def versions() -> list[torch.Tensor]:
        y_hat = stage.latents(x, level)
        with torch.no_grad():
            return [stage.decode(y_hat, x.shape[2:], level, *asked) for asked in ((none, none), (none + 1, none))]

    before = versions()
    take_steps(stage, 3, 0.03)
    after = versions()
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_both_conditions_are_learned_at_many_strengths_and_the_machines_at_low_qualities(conditions_config, tmp_path):
    stage = stage_of(conditions_config, tmp_path)
    levels = stage.network.config.levels
    level, strength, machine = stage._draw_condition("protected", 10_000)
    assert (int(level.min()), int(level.max())) == (0, levels - 1)
    assert (level < levels / 2).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert not machine.any()
    assert 0 < strength.min() < 0.01
    assert strength.max() == 1
    assert (strength == 1).float().mean().item() == pytest.approx(0.5, abs=0.03)
    level, strength, machine = stage._draw_condition("machine", 10_000)
    assert not strength.any()
    assert (machine == 1).all()
    assert int(level.max()) < levels
    assert (level < levels / 2).float().mean().item() == pytest.approx(0.5 ** (1 / 2.5), abs=0.03)


def test_what_happens_to_pictures_happens_to_both_versions(conditions_config, tmp_path, monkeypatch):
    stage = stage_of(conditions_config, tmp_path)
    travelled: list[tuple[int, ...]] = []

    def travel(x: torch.Tensor) -> torch.Tensor:
        travelled.append(tuple(x.shape))
        return x

    monkeypatch.setattr(stage, "journey", travel)
    stage.loss()
    assert len(travelled) == 2
    assert travelled[0] == travelled[1]


def test_captions_are_told_to_the_models(conditions_config, photos, tmp_path):
    rows = [
        {"split": split, "image": str(path), "captions": [f"{split} {number}", f"{split} again"]}
        for number, path in enumerate(sorted(photos.iterdir()))
        for split in ("train", "val")
    ]
    pairs = tmp_path / "captions.jsonl"
    pairs.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = dataclasses.replace(conditions_config, data=dataclasses.replace(conditions_config.data, pairs=str(pairs)))
    stage = stage_of(config, tmp_path)
    for _ in range(10):
        stage.loss()
    read = {text for model in stage.surrogates.models for text in model.read}  # type: ignore[attr-defined]
    assert "train again" in read
    assert len(read) > 1
    assert all(text.startswith("train ") for text in read)


@pytest.mark.parametrize(("weight", "lowest", "highest"), [(0.0, -1.0, 0.8), (20.0, 0.95, 1.0)])
def test_how_far_the_shield_goes_is_a_matter_of_the_budget(conditions_config, tmp_path, weight, lowest, highest):
    stage = stage_of(conditions_config, tmp_path, shield="cosine")
    x, level = stage.held_out[64], torch.full((4,), 40)
    models = stage.surrogates.models

    def cosine() -> float:
        with torch.no_grad():
            y_hat, one = stage.latents(x, level), torch.ones(4)
            decoded = shown(stage.decode(y_hat, x.shape[2:], level, one, 0 * one))
            return recognition(models, decoded, [model.encode_image(x) for model in models]).mean().item()

    for budgets in stage.budgets.values():
        for budget in budgets.each:
            budget.weight, budget.pace, budget.lowest = weight, 0.0, 0.0
    assert cosine() > 0.95
    take_steps(stage, 60, 1e-2)
    assert lowest <= cosine() <= highest


def test_each_range_of_qualities_has_budgets_of_its_own(conditions_config, tmp_path, monkeypatch):
    stage = stage_of(conditions_config, tmp_path)

    def draw(name: str, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        machine = torch.full((count,), float(name == "machine"))
        return torch.full((count,), 60 if name == "machine" else 17), 1 - machine, machine

    monkeypatch.setattr(stage, "_draw_condition", draw)
    before = {name: budgets.state() for name, budgets in stage.budgets.items()}
    _, figures = stage.loss()
    assert figures["protected_weight"] < 4  # nothing is spent yet, so that distortion weighs less from now on
    moved = {
        name: [i for i, (a, b) in enumerate(zip(budgets.state(), before[name], strict=True)) if a != b]
        for name, budgets in stage.budgets.items()
    }
    assert moved == {"protected": [1], "machine": [3]}  # of four ranges


def test_a_weaker_shield_may_spend_as_much_less(conditions_config, tmp_path, monkeypatch):
    stage = stage_of(conditions_config, tmp_path)
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(Budgets, "update", lambda self, excess, group: seen.append(excess))

    def draw(name: str, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        none = torch.zeros(count)
        return none.long(), none + 0.25 * (name == "protected"), none + (name == "machine")

    monkeypatch.setattr(stage, "_draw_condition", draw)
    stage.loss()  # an untrained condition spends nothing
    torch.testing.assert_close(seen[0], torch.full_like(seen[0], -0.25), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[1], torch.full_like(seen[1], -1.0), atol=1e-3, rtol=0)
