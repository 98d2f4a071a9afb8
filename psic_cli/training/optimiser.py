"""What turns gradients into steps: Muon for matrices, AdamW for the rest, and a moving average of the weights.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) makes every singular value of a weight matrix' step
equal. A convolution's weight is such a matrix, [outputs, kernel * kernel * inputs].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST_MATRIX = 32  # rows and columns: smaller ones gain nothing from Muon
MOMENTUM = 0.95  # of Muon
BETAS = (0.9, 0.99)  # of AdamW


def matrix_weights(network: nn.Module) -> list[nn.Parameter]:
    """Weights of the dense convolutions of `network` that are matrices of at least 32 x 32."""
    found: dict[int, nn.Parameter] = {}
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, nn.Parameter) or weight.ndim != 4 or getattr(module, "groups", 1) != 1:
            continue
        if min(weight.shape[0], weight[0].numel()) >= SMALLEST_MATRIX:
            found[id(weight)] = weight
    return list(found.values())


def as_matrix(weight: Tensor) -> Tensor:
    """[O, I, k, k] -> [O, k * k * I]; shares storage where the memory format is channels_last."""
    return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)


class Optimiser:
    """Muon and AdamW as one, with the part of `torch.optim.Optimizer` that a training loop needs.

    torch's Muon takes 2-D parameters only, so it gets leaves of its own that look at the convolution weights' storage.
    Both use the same learning rate: Muon's steps are scaled to the usual size of AdamW's.

    Args:
        groups: as for torch.optim; further keys (such as "factor") are kept in `param_groups`.
        matrices: the parameters that Muon is to move; they become channels_last. None of them: plain AdamW.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], matrices: Iterable[nn.Parameter] = ()) -> None:
        chosen = {id(weight) for weight in matrices}
        self.weights: list[nn.Parameter] = []  # moved by Muon, in the order of its leaves
        ours, rest = [], []
        for group in groups:
            parameters = list(group["params"])
            weights = [p for p in parameters if id(p) in chosen]
            self.weights += weights
            for weight in weights:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
            leaves = [nn.Parameter(as_matrix(weight.data)) for weight in weights]
            ours.append({**group, "params": leaves})
            rest.append({**group, "params": [p for p in parameters if id(p) not in chosen]})
        parts: list[torch.optim.Optimizer] = []
        if self.weights:
            muon_groups = [group for group in ours if group["params"]]
            parts.append(
                torch.optim.Muon(
                    muon_groups, lr=0.0, weight_decay=0.0, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
                )
            )
        adam_groups = [group for group in rest if group["params"]]
        if adam_groups:
            parts.append(torch.optim.AdamW(adam_groups, lr=0.0, betas=BETAS, weight_decay=0.0, fused=True))
        self.parts = parts
        self.leaves = [leaf for group in ours for leaf in group["params"]]
        self.rest = [p for group in rest for p in group["params"]]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, to set learning rates in."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters that are moved, each once."""
        return [*self.weights, *self.rest]

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for weight, leaf in zip(self.weights, self.leaves, strict=True):
            self._look_at(leaf, weight)
            leaf.grad = None if weight.grad is None else as_matrix(weight.grad)
        for part in self.parts:
            part.step()
        for leaf in self.leaves:
            leaf.grad = None

    @staticmethod
    def _look_at(leaf: Tensor, weight: nn.Parameter) -> None:
        """Share storage again after network.to(...) gave the weight another one."""
        if leaf.data_ptr() != weight.data_ptr():
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
            leaf.data = as_matrix(weight.data)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, one in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(one)


class Average:
    """Exponential moving average of parameters: steadier than the last step's, so it is what is validated and exported.

    Early on the average is over fewer steps, min(decay, (1 + n) / (10 + n)): random first weights must not stay in it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay, self.updates = list(parameters), decay, 0
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - decay)
        self.updates += 1

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the averages into the parameters, and the parameters' values here; twice is as before."""
        for value, parameter in zip(self.values, self.parameters, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While this lasts the network has the averaged weights."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values, "updates": self.updates}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for value, saved in zip(self.values, state["values"], strict=True):
            value.copy_(saved)
        self.updates = state["updates"]
