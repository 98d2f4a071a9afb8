"""One training run: its network, its arithmetic, and its folder.

runs/NAME/config.toml  checkpoint.pt  log.jsonl
"""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from psic_cli import zoo
from psic_cli.backbones import architectures
from psic_cli.backbones.adapted import Adapted, Sizes
from psic_cli.errors import InputError, ModelError
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.entropy_model import FrozenScaling, LatentScaling
from psic_cli.networks.integer_layers import exact_type
from psic_cli.networks.network import REAL_PARTS, PsicNetwork
from psic_cli.shell import streams
from psic_cli.training import distributed
from psic_cli.training.config import TrainingConfig
from psic_cli.training.rate import RateModel

log = logging.getLogger("psic.training")


class Run:
    """Network, rate model, arithmetic and place of one run; knows how to save and load itself.

    Attributes:
        network: a PsicNetwork, or an Adapted of backbones/, whose CLTG alone is trained.
        rate: a RateModel, or of an Adapted an empty module: its bits are settled.
        start: the model that the run goes on from.
    """

    network: Any
    rate: Any

    def __init__(self, config: TrainingConfig, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device
        self.precision = zoo.choose_precision("auto", device)
        for path in (self.checkpoint, self.partial, self.log_file):
            streams.refuse_key(path)
        self.start = zoo.read_card(Path(config.start_from)) if config.start_from else None
        trained = zoo.load_card(self.start).network if self.start is not None else None
        self.config = config
        self.finished: list[str] = []  # stages
        torch.manual_seed(config.seed)
        if isinstance(trained, Adapted):
            self._steer(trained)
        else:
            self._make(trained)  # type: ignore[arg-type]  # there is no third kind

    def _make(self, trained: PsicNetwork | None) -> None:
        """A network of psic's own, new or as it was exported."""
        if trained is not None:
            self.config = replace(self.config, network=trained.config)
        network = PsicNetwork(self.config.network)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.rate = RateModel(self.config.network).to(self.device)
        if trained is not None:
            self._start_from(trained)

    def _steer(self, backbone: Adapted) -> None:
        """A network of others with a CLTG, which is all that is trained of it."""
        assert self.start is not None
        if not self.config.conditions.steps:
            raise InputError("nothing would be trained: of another codec's network the conditions alone are")
        none = replace(self.config.compression, steps=0)
        self.config = replace(self.config, compression=none, rounding=none)
        network = copy.deepcopy(backbone)
        if network.cltg is None:
            hidden, architecture = self.config.network.cltg_hidden, str(self.start.data["architecture"])
            network.cltg = architectures.untrained_cltg(architecture, network, hidden)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.network.use_integers(exact_type(self.device))
        self.rate = nn.Module()

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
            "network_config": self.network.card_entry(),
            "start": None if self.start is None else self.start.sha256,
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
        if isinstance(self.network, Adapted):
            assert self.start is not None
            if state["start"] != self.start.sha256:
                raise ModelError(f"{self.start.path} holds other weights than those that this run began with")
            self.network.sizes = Sizes(**state["network_config"])
        else:
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
