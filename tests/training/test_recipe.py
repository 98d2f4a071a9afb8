"""Training runs: stopped and resumed ones end where uninterrupted ones end, and what comes out codes pictures."""

import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from psic_cli import codec, zoo
from psic_cli.codec import Version
from psic_cli.errors import InputError
from psic_cli.networks.cltg import ConditionalLatentTriggerGenerator
from psic_cli.networks.transforms import Analysis
from psic_cli.picture import Picture
from psic_cli.training import compression
from psic_cli.training.compression import CompressionStage, RoundingStage
from psic_cli.training.config import TrainingConfig
from psic_cli.training.export import export
from psic_cli.training.rate import RateModel
from psic_cli.training.recipe import train
from psic_cli.training.run import Run
from tests.training.conftest import SMALL, smooth_picture
from tests.training.models import SmallModel


def train_with_stop(config: TrainingConfig, folder: Path, stage: Any, stop_in: int, monkeypatch) -> Run:
    """Train, but a signal comes in step `stop_in` (counted from 0); then resume."""
    steps: list[int] = []
    original = stage.loss

    def loss(self):
        steps.append(len(steps))
        if len(steps) == stop_in + 1:
            signal.raise_signal(signal.SIGTERM)
        return original(self)

    monkeypatch.setattr(stage, "loss", loss)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert len(steps) == stop_in + 1
    torch.manual_seed(12345)  # a new process would not know where the random numbers were
    run = train(config, folder)
    assert len(steps) == getattr(config, stage.name).steps
    return run


def check_same(one: Run, other: Run) -> None:
    assert one.network.card_entry() == other.network.card_entry()
    for part in ("network", "rate"):
        states = [getattr(run, part).state_dict() for run in (one, other)]
        assert states[0].keys() == states[1].keys()
        for key, value in states[0].items():
            assert torch.equal(value, states[1][key]), f"{part} {key}"


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("average", "stop_in"), [(0.0, 2), (0.5, 4)])
def test_a_stopped_run_ends_where_an_uninterrupted_one_does(config, tmp_path, monkeypatch, average, stop_in):
    config = dataclasses.replace(config, compression=dataclasses.replace(config.compression, average=average))
    whole = train(config, tmp_path / "whole")
    stopped = train_with_stop(config, tmp_path / "stopped", CompressionStage, stop_in, monkeypatch)
    check_same(stopped, whole)
    assert whole.finished == ["compression"]
    assert [entry["step"] for entry in logged(tmp_path / "whole") if "validation" in entry] == [4, 6]

    # a finished run is not trained any further
    again = train(config, tmp_path / "whole")
    check_same(again, whole)

    # training has moved the transforms and the gains
    start = Run(config, tmp_path / "start", "cpu").network.state_dict()
    after = whole.network.state_dict()
    still = {key for key, value in start.items() if torch.equal(value, after[key])}
    assert {key for key in still if not key.startswith(("h_", "g_s.cltg"))} == set()

    # and the result is a codec
    export(whole.network, whole.rate, tmp_path / "models" / "trained", "trained")
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "models"))
    picture = Picture(smooth_picture(7, 70, 90))
    data = codec.encode(picture, bytes(32), model=zoo.load("trained"), quality=100, strength=0)
    decoded = codec.decode(data, bytes(32), version=Version.FULL)
    assert decoded.rgb.shape == (70, 90, 3)
    assert np.abs(decoded.rgb.astype(int) - picture.rgb).mean() < 20


@pytest.mark.slow
def test_the_same_configuration_gives_the_same_weights_again_also_where_its_second_stage_was_stopped(
    config, tmp_path, monkeypatch
):
    """With drawings among the crops, and with processes that cut them."""
    second = dataclasses.replace(config.compression, steps=4)
    drawn = dataclasses.replace(config.data, drawn=0.3, workers=1)
    config = dataclasses.replace(config, rounding=second, data=drawn)
    whole = train(config, tmp_path / "whole")
    assert whole.finished == ["compression", "rounding"]
    again = train_with_stop(config, tmp_path / "again", RoundingStage, 1, monkeypatch)
    check_same(again, whole)
    other = train(dataclasses.replace(config, seed=2), tmp_path / "other")
    assert not torch.equal(other.network.g_a.stem.weight, whole.network.g_a.stem.weight)


def test_a_configuration_without_models_to_protect_against_is_refused_at_once(conditions_config, tmp_path):
    conditions = dataclasses.replace(conditions_config.conditions, vlps=[])
    with pytest.raises(InputError, match="vision-language model"):
        train(dataclasses.replace(conditions_config, conditions=conditions), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_whole_run_has_the_arithmetic_that_suits_the_hardware(
    conditions_config, small_scale, tmp_path, monkeypatch, precision
):
    monkeypatch.setattr(zoo, "choose_precision", lambda name, device: precision)
    found = set()

    def remember(*arguments: Any, **keywords: Any) -> None:
        found.add(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)

    monkeypatch.setattr(compression, "COUNTED", 1)
    monkeypatch.setattr(RateModel, "start_from", lambda *_: None)  # a look before training, in float32
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, _: remember() if isinstance(module, Analysis | ConditionalLatentTriggerGenerator) else None
    )
    monkeypatch.setattr(SmallModel, "encode_image", watched(SmallModel.encode_image, remember))
    try:
        stage = dataclasses.replace(conditions_config.conditions, steps=1)
        first = dataclasses.replace(conditions_config.compression, steps=1)
        train(dataclasses.replace(conditions_config, compression=first, rounding=first, conditions=stage), tmp_path)
    finally:
        hook.remove()
    assert found == {precision}


def watched(function, remember):
    def call(*arguments: Any) -> Any:
        remember()
        return function(*arguments)

    return call


def test_on_a_graphics_card_the_arithmetic_is_bfloat16_whichever_of_several_it_is():
    assert [zoo.choose_precision("auto", device) for device in ("cuda", "cuda:3")] == [torch.bfloat16] * 2


def test_numbers_of_the_process_are_as_small_after_training_as_before(config, tmp_path):
    train(dataclasses.replace(config, compression=dataclasses.replace(config.compression, steps=1)), tmp_path / "run")
    assert sys.float_info.min / 2 > 0


def test_a_checkpoint_appears_whole_or_not_at_all(config, tmp_path, monkeypatch):
    run = Run(config, tmp_path, "cpu")
    run.save()
    before = run.checkpoint.read_bytes()

    def fail(state, path):
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        run.save()
    assert run.checkpoint.read_bytes() == before


def test_a_checkpoint_holds_the_network_its_sizes_and_the_finished_stages(config, tmp_path):
    run = Run(config, tmp_path, "cpu")
    with torch.no_grad():
        for parameter in (*run.network.parameters(), *run.rate.parameters()):
            parameter.add_(0.125)
    run.network.config = dataclasses.replace(SMALL, largest_side=500)
    run.finished = ["compression"]
    run.save()
    drawn = torch.rand(3)
    found = Run(config, tmp_path, "cpu")
    found.load()
    check_same(found, run)
    assert found.finished == ["compression"]
    assert torch.equal(torch.rand(3), drawn)


def test_averaged_weights_are_what_is_validated_exported_and_trained_on(config, tmp_path, monkeypatch):
    stage = dataclasses.replace(config.compression, average=0.9, steps=3)
    seen: list[torch.Tensor] = []

    def weight(run: Run) -> torch.Tensor:
        return run.network.g_a.stem.weight.detach().clone()

    def remember(self) -> dict[str, float]:
        seen.append(weight(self.run))
        return {}

    monkeypatch.setattr(CompressionStage, "validate", remember)
    run = train_until(dataclasses.replace(config, compression=stage, save_every=2), tmp_path, monkeypatch, stop_after=2)
    last = weight(run)
    run.load(averaged=True)
    average = weight(run)
    assert not torch.equal(last, average)
    run.load()
    assert torch.equal(weight(run), last)
    finished = train(dataclasses.replace(config, compression=stage), tmp_path)
    assert torch.equal(weight(finished), seen[-1])
    run.load(averaged=True)  # a finished run is its average
    assert torch.equal(weight(run), seen[-1])


def train_until(config: TrainingConfig, folder: Path, monkeypatch, stop_after: int) -> Run:
    """The run as its checkpoint is after some steps."""
    original, steps = CompressionStage.loss, []

    def loss(self):
        steps.append(1)
        if len(steps) == stop_after + 1:
            raise OSError("power cut")
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(CompressionStage, "loss", loss)
        with pytest.raises(OSError, match="power cut"):
            train(config, folder)
    run = Run(config, folder, "cpu")
    run.load()
    return run
