"""How many units of a network are dead: nothing repairs them, so the log says whether there are any."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from psic_cli.networks.layers import Activation
from psic_cli.networks.network import PsicNetwork


class Watch:
    """While this lasts, `dead` counts what has not been above zero anywhere in any picture that the network was shown:
    channels before an activation, in the transforms and in the entropy network.
    """

    def __init__(self, network: PsicNetwork) -> None:
        before_activation = [*network.h_s.convolutions()[:-1], *(c.convolutions()[2] for c in network.context_models())]
        self.modules = [module for module in network.modules() if isinstance(module, Activation)] + before_activation
        self.alive: dict[int, Tensor] = {}  # for each module, which of its channels
        self.hooks: list[RemovableHandle] = []

    @property
    def dead(self) -> int:
        return sum(int((~alive).sum()) for alive in self.alive.values())

    def _look(self, module: Any, _: Any, output: Tensor) -> None:
        alive = (output.detach() > 0).transpose(0, 1).flatten(1).any(1)
        self.alive[id(module)] = torch.logical_or(alive, self.alive.get(id(module), alive))

    def __enter__(self) -> Watch:
        self.hooks = [module.register_forward_hook(self._look) for module in self.modules]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self.hooks:
            hook.remove()
