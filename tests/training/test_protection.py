"""The protection stage with small made-up models to protect against."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from psic_cli import codec, zoo
from psic_cli.codec import Version
from psic_cli.networks.entropy_model import clamp_z, scale_of_index
from psic_cli.networks.layers import pad_to_multiple
from psic_cli.networks.network import PsicNetwork
from psic_cli.picture import Picture
from psic_cli.training import protection
from psic_cli.training.config import TrainingConfig
from psic_cli.training.export import export
from psic_cli.training.loop import Run, train
from psic_cli.training.losses import recognition, shown
from psic_cli.training.multi_objective import Budget
from psic_cli.training.optimiser import Optimiser, matrix_weights
from psic_cli.training.protection import ProtectionStage, allowed_loss
from tests import needs
from tests.training.conftest import smooth_picture
from tests.training.test_loop import check_same, train_with_stop

pytestmark = [needs.COMPRESSAI, pytest.mark.usefixtures("small_scale")]


def frozen_parts(network: PsicNetwork) -> dict[str, torch.Tensor]:
    """What the stage must leave alone: everything but the synthesis of the versions that it trains."""
    return {k: v.clone() for k, v in network.state_dict().items() if not k.startswith(("g_p.", "guide."))}


def changed(config: TrainingConfig, **changes: Any) -> TrainingConfig:
    """With other values for the protection stage."""
    return dataclasses.replace(config, protection=dataclasses.replace(config.protection, **changes))


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"average": 0.5, "surrogates_per_step": 1, "judges": ["fake:judge"]}])
def test_a_stopped_run_ends_where_an_uninterrupted_one_does(protected_config, tmp_path, monkeypatch, changes):
    protected_config = changed(protected_config, **changes)
    whole = train(protected_config, tmp_path / "whole")
    stopped = train_with_stop(protected_config, tmp_path / "stopped", ProtectionStage, 3, monkeypatch)
    check_same(stopped, whole)
    assert whole.finished == ["protection"]
    config = whole.network.config
    assert 1 <= config.private < config.latents
    assert config.largest_side == 96

    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text("utf-8").splitlines()]
    results = [line["validation"] for line in lines if "validation" in line][-1]
    suffixes = ("", "_judges") if changes else ("",)
    for version in ("full", "protected", "half", "machine", "forced", "forged"):
        for level in (8, 32, 56):
            assert 5 < results[f"{version}{level}_psnr"] < 60
            for suffix in suffixes:
                assert -1 <= results[f"{version}{level}_cosine{suffix}"] <= 1.0001
                assert 0 <= results[f"{version}{level}_agree{suffix}"] <= 1

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
        name for name, _ in run.network.named_parameters() if name.startswith("g_p.")
    ]


@pytest.mark.parametrize("own_synthesis", [True, False])
def test_large_pictures_learn_by_what_is_drawn_on_their_thumbnails(
    protected_config, tmp_path, monkeypatch, own_synthesis
):
    monkeypatch.setattr("psic_cli.networks.thumbnails.THUMBNAIL", 48)
    monkeypatch.setattr(protection, "SIDES", [96])
    run = Run(changed(protected_config, own_synthesis=own_synthesis), tmp_path, "cpu")
    stage = ProtectionStage(run, fresh=True)
    x, level = stage.held_out[:2], torch.tensor([10, 60])
    public = stage.versions.latents(x, level).public
    x_protected, drawn = stage.versions.protected(public, x.shape[2:], level)
    assert drawn is not None
    assert drawn.shape == (2, 3, 48, 48)
    condition = stage.versions.condition(x.shape[2:], level, torch.ones(2, 1))
    with torch.no_grad():  # what a decoder makes of the same latents
        torch.testing.assert_close(run.network.picture(public, condition, *x.shape[2:]), x_protected)
    drawn.square().sum().backward()
    trained = {name for name, parameter in run.network.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[0] for name in trained} == {"g_p" if own_synthesis else "g_s"}
    assert stage.loss()[0].isfinite()


def test_the_full_version_is_what_compression_has_made_of_it(protected_config, tmp_path):
    codec_alone = Run(protected_config, tmp_path, "cpu").network
    network = train(changed(protected_config, learning_rate=0.01), tmp_path / "run").network
    assert network.g_p is not None
    y_hat = torch.randn(1, network.config.latents + network.config.private, 8, 8)
    full, protected = torch.tensor([[0.0, 0.0, 0.0, 0.5]]), torch.tensor([[1.0, 0.0, 0.0, 0.5]])
    with torch.no_grad():
        assert torch.equal(network.synthesise(y_hat, full), network.g_s(y_hat, full))
        assert torch.equal(network.synthesise(y_hat, protected), network.g_p(y_hat, protected))
        assert not torch.equal(network.g_s(y_hat, protected), network.g_p(y_hat, protected))
    for key, value in codec_alone.g_s.blocks.state_dict().items():
        assert torch.equal(value, network.g_s.blocks.state_dict()[key])


def test_a_synthesis_that_all_versions_share_is_trained_for_all(protected_config, tmp_path):
    run = Run(changed(protected_config, own_synthesis=False), tmp_path, "cpu")
    stage = ProtectionStage(run, fresh=True)
    assert run.network.g_p is None
    for step in range(2):  # the full version is learned in the first of both
        loss, _ = stage.loss()
        loss.backward()
        gradient = run.network.g_s.get_parameter("blocks.0.expand.weight").grad
        assert gradient is not None
        assert gradient.abs().max() > 0
        assert stage._learns_full is (step == 1)


def test_without_the_key_there_are_means_or_guesses(protected_config, tmp_path):
    run = Run(protected_config, tmp_path, "cpu")
    stage = ProtectionStage(run, fresh=True)
    network, private = run.network, run.network.config.private
    public = network.config.public
    x = stage.held_out
    level = torch.full((len(x),), 60)
    found = stage.versions.latents(x, level)
    y, z = network.analyse(pad_to_multiple(x, 64), network.config.quality(level))
    _, prediction = network.code(y, clamp_z(z), level)
    means = network.restore(torch.zeros_like(y), prediction.mean, level)
    assert not torch.equal(found.full[:, public:], found.public[:, public:])
    torch.testing.assert_close(found.public[:, public:], means[:, public:])
    for other in (found.public, found.forged):
        assert torch.equal(found.full[:, :public], other[:, :public])
    guessed = found.forged[:, public:] - found.public[:, public:]
    assert guessed.abs().max() > 0
    expected = scale_of_index(prediction.index)[:, public:]  # in symbols, which stand behind the latents
    symbols = found.forged[:, -private:]
    assert float(symbols.square().mean()) == pytest.approx(float((expected.square() + 1 / 12).mean()), rel=0.3)


def conditions_of(stage: ProtectionStage, monkeypatch, steps: int) -> list[list[tuple[float, float]]]:
    """The largest strength and machine preference of each decode, step by step."""
    conditions = []
    original = stage.versions.decode

    def remember(y_hat, side, level, strength, machine=None):
        conditions.append((float(strength.max()), 0.0 if machine is None else float(machine.max())))
        return original(y_hat, side, level, strength, machine)

    monkeypatch.setattr(stage.versions, "decode", remember)
    found = []
    for _ in range(steps):
        conditions.clear()
        loss, figures = stage.loss()
        assert loss.isfinite()
        assert {"full", "protected", "cosine"} <= set(figures)
        found.append(list(conditions))
    return found


@pytest.mark.parametrize("forced_weight", [0.0, 0.1])
def test_machine_and_forced_decodes_take_turns(protected_config, tmp_path, monkeypatch, forced_weight):
    config = changed(protected_config, forced_weight=forced_weight, own_synthesis=False)
    stage = ProtectionStage(Run(config, tmp_path, "cpu"), fresh=True)
    found = conditions_of(stage, monkeypatch, 12)
    assert all(one[:2] == [(0.0, 0.0)] * 2 for one in found)  # full, and what the shield is drawn on
    machine, forced = [(0.0, 1.0)], [(0.0, 0.0)] if forced_weight else []
    assert [one[2:] for one in found] == [machine, [], [], forced, [], []] * 2


def test_beside_a_synthesis_of_its_own_only_the_machine_version_has_turns(protected_config, tmp_path, monkeypatch):
    stage = ProtectionStage(Run(protected_config, tmp_path, "cpu"), fresh=True)
    found = conditions_of(stage, monkeypatch, 5)
    assert [one[2:] for one in found] == [[(0.0, 1.0)], [], [], [(0.0, 1.0)], []]


@pytest.mark.parametrize(
    "changes",
    [
        {"shield": "cosine"},
        {"objective": "fixed"},
        {"objective": "mgda"},
        {"objective": "mgda-parameters"},
        {"surrogates_per_step": 1},
        {"scale_condition": False},
        {"afresh": True},
        {"own_synthesis": False},
    ],
    ids=str,
)
def test_every_choice_trains_the_synthesis_and_nothing_else(protected_config, tmp_path, changes):
    config = changed(protected_config, **changes)
    run = Run(config, tmp_path, "cpu")
    stage = ProtectionStage(run, fresh=True)
    trained = run.network.steered()
    before = frozen_parts(run.network)
    optimiser = Optimiser(stage.parameter_groups(), matrix_weights(run.network))
    for group in optimiser.param_groups:
        group["lr"] = 1e-3
    for _ in range(3):
        optimiser.zero_grad()
        loss, _ = stage.loss()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in optimiser.parameters)
        optimiser.step()
    for key, value in frozen_parts(run.network).items():
        assert torch.equal(value, before[key]) or (key.startswith("g_s.") and trained is run.network.g_s), key
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in trained.parameters())
    assert run.network.config.largest_side == (96 if config.protection.scale_condition else 64)


def test_a_stage_that_starts_afresh_forgets_the_conditions_of_the_network(protected_config, tmp_path):
    for afresh in (False, True):
        run = Run(changed(protected_config, afresh=afresh), tmp_path, "cpu")
        for weight in run.network.steered().cltg.heads.parameters():
            torch.nn.init.ones_(weight)
        ProtectionStage(run, fresh=False)  # resumed: nothing is forgotten
        assert all(weight.any() for weight in run.network.steered().cltg.heads.parameters())
        ProtectionStage(run, fresh=True)
        assert run.network.g_p is run.network.steered()  # the full version has no conditions
        assert any(weight.any() for weight in run.network.g_p.cltg.heads.parameters()) is not afresh


def test_captions_are_told_to_the_models(protected_config, photos, tmp_path):
    rows = [
        {"split": split, "image": str(path), "captions": [f"{split} {number}"]}
        for number, path in enumerate(sorted(photos.iterdir()))
        for split in ("train", "val")
    ]
    pairs = tmp_path / "captions.jsonl"
    pairs.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = dataclasses.replace(protected_config, data=dataclasses.replace(protected_config.data, pairs=str(pairs)))
    stage = ProtectionStage(Run(config, tmp_path, "cpu"), fresh=True)
    for _ in range(10):
        stage.loss()
    read = {text for model in stage.surrogates.models for text in model.read}  # type: ignore[attr-defined]
    assert read
    assert all(text.startswith("train ") for text in read)


def cosine_of_the_protected_version(stage: ProtectionStage, x: torch.Tensor) -> float:
    with torch.no_grad():
        level = torch.full((len(x),), 40)
        public = stage.versions.latents(x, level).public
        decoded = stage.versions.decode(public, x.shape[2:], level, torch.ones(len(x), 1))
        models = stage.surrogates.models
        return recognition(models, shown(decoded), [model.encode_image(x) for model in models]).mean().item()


@pytest.mark.parametrize(("weight", "lowest", "highest"), [(0.0, -1.0, 0.6), (5.0, 0.9, 1.0)])
def test_how_far_the_shield_goes_is_a_matter_of_the_budget(protected_config, tmp_path, weight, lowest, highest):
    run = Run(changed(protected_config, shield="cosine", own_synthesis=False), tmp_path, "cpu")
    stage = ProtectionStage(run, fresh=True)
    stage.budgets = [Budget(weight=weight, pace=0.0, lowest=0.0) for _ in stage.budgets]
    x = stage.source.next_batch(4 * 96 * 96).x
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
    for level, number in ((17, 1), (60, 3)):  # the second and the last of four ranges
        monkeypatch.setattr(stage, "_draw_levels", lambda count, value=level: torch.full((count,), value))
        before = [budget.weight for budget in stage.budgets]
        stage.loss()
        after = [budget.weight for budget in stage.budgets]
        assert [i for i, (a, b) in enumerate(zip(after, before, strict=True)) if a != b] == [number]


def test_the_first_step_weighs_distortion_as_the_configuration_says(protected_config, tmp_path):
    stage = ProtectionStage(Run(changed(protected_config, budget_weight=9.0), tmp_path, "cpu"), fresh=True)
    assert stage.loss()[1]["budget_weight"] == 9.0


def test_the_protected_version_may_always_lose_what_sealing_costs():
    psnr, lowest, best = torch.tensor([30.0, 36.0]), torch.zeros(2), torch.ones(2)
    # Half of the budget
    assert allowed_loss(psnr, 1.5, lowest, is_large=False).tolist() == pytest.approx([0.75, 1.275])
    assert allowed_loss(psnr, 1.5, 0.2 + lowest, is_large=False).tolist() == pytest.approx([1.005, 1.7085])
    wanted = allowed_loss(psnr, 1.5, best, is_large=False)
    assert wanted.tolist() == pytest.approx([1.7, 2.55])  # 0.8 dB for sealing alone; 0.35 of 3 dB above 33
    for quality in (lowest, best):  # where thumbnails are drawn on, everything is a little less
        small, large = (allowed_loss(psnr, 1.5, quality, is_large=is_large) for is_large in (False, True))
        torch.testing.assert_close(large, 0.94 * small)
