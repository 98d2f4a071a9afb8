"""One training run: its network, its arithmetic, and its folder.

runs/NAME/config.toml  checkpoint.pt  log.jsonl
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from psic_cli import zoo
from psic_cli.errors import UsageError
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.entropy_model import FrozenScaling, LatentScaling
from psic_cli.networks.network import REAL_PARTS, PsicNetwork
from psic_cli.shell import streams
from psic_cli.training import distributed
from psic_cli.training.config import TrainingConfig
from psic_cli.training.rate import RateModel

log = logging.getLogger("psic.training")


class Run:
    """Network, rate model, arithmetic and place of one run; knows how to save and load itself."""

    def __init__(self, config: TrainingConfig, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device
        self.precision = zoo.choose_precision("auto", device)
        for path in (self.checkpoint, self.partial, self.log_file):
            streams.refuse_key(path)
        trained = _trained(Path(config.start_from)) if config.start_from else None
        self.config = config if trained is None else replace(config, network=trained.config)
        config = self.config
        torch.manual_seed(config.seed)
        self.network = PsicNetwork(config.network).to(device).to(memory_format=torch.channels_last)
        self.rate = RateModel(config.network).to(device)
        self.finished: list[str] = []  # stages
        if trained is not None:
            self._start_from(trained)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """By torch.compile, where the configuration wants it and this machine has what it needs."""
        if not self.config.compile:
            return function
        chosen: Callable[..., Any] | None = None

        def call(*arguments: Any) -> Any:
            nonlocal chosen
            if chosen is None:
                try:
                    chosen = torch.compile(function, dynamic=False)
                    return chosen(*arguments)
                except Exception as error:  # a missing compiler, header or driver: each has an exception of its own
                    log.warning("training without torch.compile, which is slower: %s", _first_line(error))
                    chosen = function
            return chosen(*arguments)

        return call

    def _start_from(self, trained: PsicNetwork) -> None:
        """Take over an exported model. Its density of z is kept as tables alone, so the rate model starts afresh."""
        assert isinstance(trained.scaling, FrozenScaling)
        assert isinstance(self.network.scaling, LatentScaling)
        for part in REAL_PARTS:
            getattr(self.network, part).load_state_dict(getattr(trained, part).state_dict())
        for (_, layer), (_, loaded) in zip(self.network.integer_layers(), trained.integer_layers(), strict=True):
            layer.start_from(loaded)
        self.network.scaling.start_from(trained.scaling)

    def arithmetic(self) -> torch.autocast:
        """Of transforms and surrogates, to be entered: bfloat16 where the hardware is quicker with it."""
        return zoo.arithmetic(self.device, self.precision)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def partial(self) -> Path:
        return self.checkpoint.with_suffix(".partial")

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    def save(self, progress: dict[str, Any] | None = None, stage: dict[str, Any] | None = None) -> None:
        """Write the checkpoint whole or not at all. progress: of the stage that is not finished. stage: what it has in
        this process alone.
        """
        own = {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device != "cpu" else None,
            "stage": stage,
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
            "progress": progress,
        }
        torch.save(state, self.partial)
        os.replace(self.partial, self.checkpoint)

    def load(self, averaged: bool = False) -> dict[str, Any]:
        """Read the checkpoint into network and rate model; returns the rest of the state.

        averaged: take the moving average of the weights where there is one, as for an export.
        """
        state: dict[str, Any] = torch.load(self.checkpoint, map_location=self.device, weights_only=False)
        self.network.config = NetworkConfig(**state["network_config"])
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


def _trained(folder: Path) -> PsicNetwork:
    """An exported model to go on with. UsageError if it is of another architecture."""
    network = zoo.load_card(zoo.read_card(folder)).network
    if not isinstance(network, PsicNetwork):
        raise UsageError(f"{folder} is a network of another kind than psic-base, and training does not go on with it")
    return network


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
