"""What a stage of training is, and how one is run: step by step, resumable at any of them.

SIGTERM and Ctrl-C save a checkpoint first. Words go through `logging`.
"""

from __future__ import annotations

import math
import signal
import time
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from psic_cli.training import distributed
from psic_cli.training.config import StageConfig
from psic_cli.training.optimiser import Average, Optimiser, matrix_weights
from psic_cli.training.run import Run, log, own_part, restore_random


class Stage(Protocol):
    """What differs between the stages."""

    name: str
    config: StageConfig
    source: Any  # of its batches

    def begin(self) -> None:
        """Before the first step."""
        ...

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


def learning_rate(config: StageConfig, step: int) -> float:
    """Linear warm-up; over the last `decay` of the steps, half a cosine to zero."""
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    left = min(1.0, max(0, config.steps - step) / (config.steps * config.decay))
    return config.learning_rate * warm * 0.5 * (1 - math.cos(math.pi * left))


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
                run.save(progress.state(), stage.state())
            if stopped:
                raise KeyboardInterrupt
    finally:
        for number, action in previous.items():
            signal.signal(number, action)
    progress.finish()
    run.finished.append(stage.name)
    run.save()
