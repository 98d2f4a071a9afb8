"""The training loop: two stages, resumable at any step, one folder per run.

    runs/NAME/config.toml  checkpoint.pt  log.jsonl

`train(config, folder)` starts or goes on; SIGTERM and Ctrl-C save a checkpoint first. Words go through `logging`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from psic_cli import zoo
from psic_cli.errors import InputError
from psic_cli.networks.entropy_model import FrozenScaling, LatentScaling
from psic_cli.networks.network import NetworkConfig, PsicNetwork
from psic_cli.training.config import StageConfig, TrainingConfig
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

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any]) -> None: ...


class Run:
    """Network, rate model and place of one run; knows how to save and load itself."""

    def __init__(self, config: TrainingConfig, folder: Path, device: str) -> None:
        self.config, self.folder, self.device = config, folder, device
        torch.manual_seed(config.seed)
        self.network = PsicNetwork(config.network).to(device).to(memory_format=torch.channels_last)
        self.rate = RateModel(config.network.hyper_latents).to(device)
        self.finished: list[str] = []  # stages
        if config.start_from:
            self._start_from(zoo.read_card(Path(config.start_from)))

    def _start_from(self, card: zoo.Card) -> None:
        """Take over an exported model. Its density of z is kept as tables alone, so the rate model starts afresh."""
        trained = zoo.load_card(card).network
        assert isinstance(trained.scaling, FrozenScaling)
        assert isinstance(self.network.scaling, LatentScaling)
        self.network.config = trained.config
        for part in ("g_a", "g_s", "h_a", "h_s"):
            getattr(self.network, part).load_state_dict(getattr(trained, part).state_dict())
        self.network.scaling.start_from(trained.scaling)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self, stage: Stage | None, step: int, optimiser: torch.optim.Optimizer | None) -> None:
        """Write the checkpoint whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "rate": self.rate.state_dict(),
            "finished": self.finished,
            "network_config": self.network.config.to_dict(),
            "stage": stage and {"name": stage.name, "step": step, "state": stage.state()},
            "optimiser": optimiser and optimiser.state_dict(),
            "random": {
                "torch": torch.get_rng_state(),
                "cuda": [] if self.device == "cpu" else torch.cuda.get_rng_state_all(),
            },
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def load(self) -> dict[str, Any]:
        """Read the checkpoint into network and rate model; returns the rest of the state."""
        state: dict[str, Any] = torch.load(self.checkpoint, map_location=self.device, weights_only=False)
        self.network.config = NetworkConfig(**state["network_config"])  # the second stage chooses the sealed channels
        self.network.load_state_dict(state["network"])
        self.rate.load_state_dict(state["rate"])
        self.finished = state["finished"]
        _restore_random(state)
        return state

    def write_log(self, entry: dict[str, Any]) -> None:
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _restore_random(state: dict[str, Any]) -> None:
    """Go on drawing where the checkpoint was saved; numpy's generators are in the states of the stages."""
    torch.set_rng_state(state["random"]["torch"].cpu())
    for number, one in zip(range(torch.cuda.device_count()), state["random"].get("cuda", []), strict=False):
        torch.cuda.set_rng_state(one.cpu(), number)


def learning_rate(config: StageConfig, step: int) -> float:
    """Linear warm-up, then a cosine to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))


class _Stopped(Exception):
    """A signal asked the run to stop."""


def run_stage(run: Run, stage: Stage, resumed: dict[str, Any] | None) -> None:
    """Train one stage to its last step. Raises KeyboardInterrupt after saving if a signal arrives."""
    optimiser = torch.optim.AdamW(stage.parameter_groups(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.0)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    first = 0
    if resumed:
        first = resumed["stage"]["step"]
        stage.load_state(resumed["stage"]["state"])
        optimiser.load_state_dict(resumed["optimiser"])
        _restore_random(resumed)  # again: making the stage has drawn numbers
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    previous = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
    started, sums, counted = time.monotonic(), {}, 0  # type: float, dict[str, float], int
    try:
        for step in range(first, stage.config.steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(stage.config, step) * group.get("factor", 1.0)
            loss, figures = stage.loss()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, stage.config.clip_norm)
            if bool(torch.isfinite(norm)):  # one broken batch must not end a long run
                optimiser.step()
            for key, value in {"loss": loss.item(), "grad_norm": norm.item(), **figures}.items():
                sums[key] = sums.get(key, 0.0) + value
            counted += 1
            done = step + 1
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
            if done % run.config.validate_every == 0 or done == stage.config.steps:
                results = stage.validate()
                log.info(
                    "%s %d validation  %s", stage.name, done, "  ".join(f"{k} {v:.4f}" for k, v in results.items())
                )
                run.write_log({"stage": stage.name, "step": done, "validation": results})
            if stopping or done % run.config.save_every == 0:
                run.save(stage, done, optimiser)
            if stopping:
                raise KeyboardInterrupt
    finally:
        for number, action in previous.items():
            signal.signal(number, action)
    run.finished.append(stage.name)
    run.save(None, 0, None)


def train(config: TrainingConfig, folder: Path, device: str = "cpu") -> Run:
    """Run the stages that are not finished yet, from the checkpoint in `folder` if there is one.

    Raises InputError for a configuration that cannot be trained.
    """
    from psic_cli.training.compression import CompressionStage
    from psic_cli.training.protection import ProtectionStage

    if config.protection.steps and not config.protection.vlps:  # now rather than after the first stage
        raise InputError("protection needs a vision-language model to protect against", "name some: vlps = [...]")
    torch.set_flush_denormal(True)
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(config, folder, device)
    state = run.load() if run.checkpoint.exists() else {}
    kinds: tuple[Any, ...] = (CompressionStage, ProtectionStage)
    for kind in kinds:
        if kind.name in run.finished or getattr(config, kind.name).steps == 0:
            continue
        resumed = state if state.get("stage") and state["stage"]["name"] == kind.name else None
        stage = kind(run, fresh=resumed is None)
        run_stage(run, stage, resumed)
    return run
