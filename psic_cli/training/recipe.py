"""From a configuration to a trained network: rate and distortion first, then the conditions.

`train(config, folder)` starts or goes on. Under torchrun several processes train together, see distributed.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from psic_cli.errors import InputError
from psic_cli.training import distributed
from psic_cli.training.compression import CompressionStage
from psic_cli.training.conditions import ConditionsStage
from psic_cli.training.config import TrainingConfig
from psic_cli.training.run import Run
from psic_cli.training.stage import log, run_stage


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
        kinds: tuple[Any, ...] = (CompressionStage, ConditionsStage)
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
