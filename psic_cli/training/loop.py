"""The training loop: two stages, resumable at any step, one folder per run.

    runs/NAME/config.toml  checkpoint.pt  log.jsonl

`train(config, folder)` starts or goes on; SIGTERM and Ctrl-C save a checkpoint first. Words go through `logging`. Under
torchrun several processes train together, see distributed.py.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from psic_cli import zoo
from psic_cli.errors import InputError
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.entropy_model import FrozenScaling, LatentScaling
from psic_cli.networks.guide import Guide
from psic_cli.networks.network import PsicNetwork
from psic_cli.shell import streams
from psic_cli.training import distributed
from psic_cli.training.config import StageConfig, TrainingConfig
from psic_cli.training.optimiser import Average, Optimiser, matrix_weights
from psic_cli.training.rate import RateModel

log = logging.getLogger("psic.training")


class Stage(Protocol):
    """What differs between the stages."""

    name: str
    config: StageConfig

    def parameter_groups(self) -> list[dict[str, Any]]: ...

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Loss of a fresh batch, and figures for the log."""
        ...

    def validate(self) -> dict[str, float]: ...

    def finish(self) -> None:
        """After the last step, with the weights that the run goes on with."""
        ...

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any]) -> None: ...


class Run:
    """Network, rate model and place of one run; knows how to save and load itself."""

    def __init__(self, config: TrainingConfig, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device
        for path in (self.checkpoint, self.partial, self.log_file):
            streams.refuse_key(path)
        trained = zoo.load_card(zoo.read_card(Path(config.start_from))).network if config.start_from else None
        self.config = config if trained is None else replace(config, network=trained.config)
        config = self.config
        torch.manual_seed(config.seed)
        self.network = PsicNetwork(config.network).to(device).to(memory_format=torch.channels_last)
        self.rate = RateModel(config.network).to(device)
        self.finished: list[str] = []  # stages
        if trained is not None:
            self._start_from(trained)
        if config.compile:
            for part in (self.network.g_a, self.network.g_s, self.network.h_s):
                part.compile()  # in place: names in checkpoints stay what they are

    def _start_from(self, trained: PsicNetwork) -> None:
        """Take over an exported model. Its density of z is kept as tables alone, so the rate model starts afresh."""
        assert isinstance(trained.scaling, FrozenScaling)
        assert isinstance(self.network.scaling, LatentScaling)
        for part in trained.real_parts():
            getattr(self.network, part).load_state_dict(getattr(trained, part).state_dict())
        for (_, layer), (_, loaded) in zip(self.network.integer_layers(), trained.integer_layers(), strict=True):
            layer.start_from(loaded)
        self.network.scaling.start_from(trained.scaling)

    def _become(self, config: NetworkConfig) -> None:
        """Be what the second stage has chosen: how many latents are sealed, and how many syntheses there are."""
        if config.private != self.network.config.private:
            self.network.g_s.expect_sealed(config.private)
            self.network.g_s.to(self.device)
            self.network.config = replace(self.network.config, private=config.private)
        if not config.own_synthesis:
            self.network.forget_conditions()
        if config.own_synthesis and self.network.g_p is None:
            self.network.give_own_synthesis()
        if not config.guide:
            self.network.guide = None
        elif self.network.guide is None:
            self.network.give_guide(Guide(config.guide_steps))
        self.network.config = config

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def partial(self) -> Path:
        return self.checkpoint.with_suffix(".partial")

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    def save(self, progress: Progress | None = None) -> None:
        """Write the checkpoint whole or not at all. progress: of the stage that is not finished."""
        own = {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device != "cpu" else None,
            "stage": progress and progress.stage.state(),
        }
        processes = distributed.everyone(own)
        if not distributed.is_first():
            return
        state = {
            "network": self.network.state_dict(),
            "rate": self.rate.state_dict(),
            "finished": self.finished,
            "network_config": self.network.config.to_dict(),
            "processes": processes,  # what differs between them
            "progress": progress and progress.state(),
        }
        torch.save(state, self.partial)
        os.replace(self.partial, self.checkpoint)

    def load(self, averaged: bool = False) -> dict[str, Any]:
        """Read the checkpoint into network and rate model; returns the rest of the state.

        averaged: take the moving average of the weights where there is one, as for an export.
        """
        state: dict[str, Any] = torch.load(self.checkpoint, map_location=self.device, weights_only=False)
        self._become(NetworkConfig(**state["network_config"]))
        self.network.load_state_dict(state["network"])
        self.rate.load_state_dict(state["rate"])
        self.finished = state["finished"]
        restore_random(state, self.device)
        if averaged and state["progress"] and state["progress"]["average"]:
            network, rate = state["progress"]["average"]["modules"]
            self.network.load_state_dict(network)
            self.rate.load_state_dict(rate)
        return state

    def write_log(self, entry: dict[str, Any]) -> None:
        if distributed.is_first():
            with open(self.log_file, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def restore_random(state: dict[str, Any], device: str) -> None:
    """Go on drawing where the checkpoint was saved; numpy's generators are in the states of the stages."""
    own = own_part(state)
    if own is None:  # saved by fewer processes: any numbers will do that no other process draws
        torch.manual_seed(torch.initial_seed() + distributed.rank())
        return
    torch.set_rng_state(own["torch"].cpu())
    if own["cuda"] is not None and device != "cpu":
        torch.cuda.set_rng_state(own["cuda"].cpu(), device)


def own_part(state: dict[str, Any]) -> dict[str, Any] | None:
    """What a checkpoint holds for this process alone."""
    processes: list[dict[str, Any]] = state["processes"]
    return processes[distributed.rank()] if distributed.rank() < len(processes) else None


def learning_rate(config: StageConfig, step: int) -> float:
    """Linear warm-up, then a cosine to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))


class Progress:
    """Where a stage is: its step, optimiser and average."""

    def __init__(self, run: Run, stage: Stage) -> None:
        self.run, self.stage, self.step = run, stage, 0
        groups = stage.parameter_groups()
        matrices = matrix_weights(run.network) if stage.config.optimiser == "muon" else []
        self.optimiser = Optimiser(groups, matrices)
        self.average = Average(self.optimiser.parameters, stage.config.average) if stage.config.average else None

    def state(self) -> dict[str, Any]:
        average = None
        if self.average:
            with self.average.in_place():  # whole modules, so that an export needs no optimiser to find the weights
                modules = [
                    {key: value.clone() for key, value in module.state_dict().items()}
                    for module in (self.run.network, self.run.rate)
                ]
            average = {**self.average.state_dict(), "modules": modules}
        return {
            "stage": self.stage.name,
            "step": self.step,
            "optimiser": self.optimiser.state_dict(),
            "average": average,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint. state: all of it."""
        own, progress = own_part(state) or state["processes"][0], state["progress"]
        self.step = progress["step"]
        self.stage.load_state(own["stage"])
        self.optimiser.load_state_dict(progress["optimiser"])
        if self.average and progress["average"]:
            self.average.load_state_dict(progress["average"])
        restore_random(state, self.run.device)  # again: making the stage has drawn numbers

    def advance(self) -> dict[str, float]:
        """One step; returns figures."""
        config, optimiser = self.stage.config, self.optimiser
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, self.step) * group.get("factor", 1.0)
        loss, figures = self.stage.loss()
        optimiser.zero_grad()
        loss.backward()
        distributed.average_gradients(optimiser.parameters)
        norm = nn.utils.clip_grad_norm_(optimiser.parameters, config.clip_norm)
        if bool(torch.isfinite(norm)):  # one broken batch must not end a long run
            optimiser.step()
            if self.average:
                self.average.update()
        self.step += 1
        return {"loss": loss.item(), "grad_norm": norm.item(), **figures}

    def validate(self) -> dict[str, float]:
        with self.average.in_place() if self.average else nullcontext():
            return self.stage.validate()

    def finish(self) -> None:
        """What comes next starts from the average."""
        if self.average:
            self.average.exchange()
        self.stage.finish()


def run_stage(run: Run, stage: Stage, resumed: dict[str, Any] | None) -> None:
    """Train one stage to its last step. Raises KeyboardInterrupt after saving if a signal arrives."""
    progress = Progress(run, stage)
    if resumed:
        progress.resume(resumed)
    first = progress.step
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    previous = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
    started, sums, counted = time.monotonic(), {}, 0  # type: float, dict[str, float], int
    try:
        for _ in range(first, stage.config.steps):
            for key, value in progress.advance().items():
                sums[key] = sums.get(key, 0.0) + value
            counted += 1
            done = progress.step
            if done % 50 == 0:
                pace = (time.monotonic() - started) / (done - first)
                means = {key: value / counted for key, value in sums.items()}
                words = "  ".join(f"{key} {value:.4g}" for key, value in means.items())
                left = pace * (stage.config.steps - done) / 60
                log.info(
                    "%s %d/%d  %s  %.2f s/step  %.0f min left", stage.name, done, stage.config.steps, words, pace, left
                )
                run.write_log({"stage": stage.name, "step": done, "seconds_per_step": pace, **means})
                sums, counted = {}, 0
            due = done % run.config.validate_every == 0 or done == stage.config.steps
            if due and distributed.is_first():
                results = progress.validate()
                log.info(
                    "%s %d validation  %s", stage.name, done, "  ".join(f"{k} {v:.4f}" for k, v in results.items())
                )
                run.write_log({"stage": stage.name, "step": done, "validation": results})
            stopped = distributed.any_of(stopping, run.device)
            if stopped or done % run.config.save_every == 0:
                run.save(progress)
            if stopped:
                raise KeyboardInterrupt
    finally:
        for number, action in previous.items():
            signal.signal(number, action)
    progress.finish()
    run.finished.append(stage.name)
    run.save()


def train(config: TrainingConfig, folder: Path, device: str = "cpu") -> Run:
    """Run the stages that are not finished yet, from the checkpoint in `folder` if there is one.

    Raises InputError for a configuration that cannot be trained.
    """
    from psic_cli.training.compression import CompressionStage
    from psic_cli.training.protection import ProtectionStage

    if not config.protection.vlps:  # now rather than after the first stage
        if config.protection.steps:
            raise InputError("protection needs a vision-language model to protect against", "name some: vlps = [...]")
        if config.compression.steps and config.compression.readable:
            raise InputError(
                "a readable full version needs a vision-language model that reads", "vlps = [...] names it"
            )
    folder.mkdir(parents=True, exist_ok=True)
    device = distributed.join(device)
    torch.set_flush_denormal(True)
    try:
        run = Run(config, folder, device)
        state = run.load() if run.checkpoint.exists() else {}
        kinds: tuple[Any, ...] = (CompressionStage, ProtectionStage)
        left = [kind for kind in kinds if kind.name not in run.finished and getattr(config, kind.name).steps]
        if not left:
            log.info("nothing is left to train: a new run goes on from what this one exports (start_from)")
        for kind in left:
            resumed = state if state.get("progress") and state["progress"]["stage"] == kind.name else None
            stage = kind(run, fresh=resumed is None)
            distributed.start_alike([run.network, run.rate])
            if distributed.count() > 1 and resumed is None:
                torch.manual_seed(config.seed + distributed.rank())
            run_stage(run, stage, resumed)
        distributed.wait()  # the first process has written what the others may read
    finally:
        distributed.leave()
        torch.set_flush_denormal(False)  # it is the process', and whoever called may need its smallest numbers
    return run
