"""From a configuration to a trained network: rate and distortion, the same of really rounded latents, the conditions.

`train(config, folder)` starts or goes on. Under torchrun several processes train together, see distributed.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from psic_cli.errors import InputError
from psic_cli.training import distributed
from psic_cli.training.compression import CompressionStage, RoundingStage
from psic_cli.training.conditions import ConditionsStage
from psic_cli.training.config import TrainingConfig
from psic_cli.training.run import Run, log
from psic_cli.training.stage import run_stage

STAGES: tuple[Any, ...] = (CompressionStage, RoundingStage, ConditionsStage)


def train(config: TrainingConfig, folder: Path, device: str = "cpu") -> Run:
    """Run the stages that are not finished yet, from the checkpoint in `folder` if there is one.

    Raises InputError for a configuration that cannot be trained.
    """
    if config.conditions.steps and not config.conditions.vlps:  # now rather than after the first stage
        raise InputError("the conditions need a vision-language model to protect against", "name some: vlps = [...]")
    folder.mkdir(parents=True, exist_ok=True)
    device = distributed.join(device)
    torch.set_flush_denormal(True)
    try:
        run = Run(config, folder, device)
        state = run.load() if run.checkpoint.exists() else {}
        left = [kind for kind in STAGES if kind.name not in run.finished and getattr(run.config, kind.name).steps]
        if not left:
            log.info("nothing is left to train: a new run goes on from what this one exports (start_from)")
        for kind in left:
            resumed = state if state.get("progress") and state["progress"]["stage"] == kind.name else None
            stage = kind(run)
            try:
                if resumed is None:
                    stage.begin()
                distributed.start_alike([run.network, run.rate])
                if distributed.count() > 1 and resumed is None:
                    torch.manual_seed(config.seed + distributed.rank())
                run_stage(run, stage, resumed)
            finally:
                stage.source.close()
        distributed.wait()  # the first process has written what the others may read
    finally:
        distributed.leave()
        torch.set_flush_denormal(False)  # it is the process', and whoever called may need its smallest numbers
    return run


def as_it_is(config: TrainingConfig, folder: Path, device: str) -> Run:
    """A run as its checkpoint holds it, ready for an export: with averaged weights if it averages, and with the tables
    that belong to them.
    """
    run = Run(config, folder, device)
    state = run.load(averaged=True)
    if state["progress"] and state["progress"]["stage"] != ConditionsStage.name:
        stage = CompressionStage(run)
        stage.finish()
        stage.source.close()
    return run
