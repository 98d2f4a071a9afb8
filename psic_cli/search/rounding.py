"""Rounding that is chosen rather than taken: a symbol that costs more bits than it is worth gives way.

Each round asks of every latent whether a step up or down would lower bits + weight * squared error, by the gradient of
the error, what a whole step costs, and the bits of the symbol. Of neighbours, which would both correct the same error,
one at a time may move.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from psic_cli.networks.backbone import LAMBDAS, Backbone
from psic_cli.search.subject import Subject, bits_of

COLOURS = 3
# Bits that the squared error of a whole step is worth, where steps are as large as they should be: 6 / ln 2. Gains are
# learned, so it holds for all latents about alike
STEP_COSTS = 8.7


@torch.enable_grad()  # type: ignore[misc]
def chosen_rounding(
    subject: Subject, network: Backbone[Any], level: Tensor, rounds: int, advance: Callable[[], None] = lambda: None
) -> Tensor:
    """Where the latents should lie, in steps of quantisation: [1, M, h, w]. advance: called after each round."""
    low, high = LAMBDAS
    weight = low * (high / low) ** network.quality(level).item() * 255**2 / COLOURS  # bits for a squared error
    x, mean, sigma, symbols = subject.x, subject.mean, subject.sigma, subject.plain
    turn = _turns(symbols.shape, symbols.device)
    for number in range(rounds):
        latents = (symbols + mean).requires_grad_(True)
        error = (subject.paint(latents).clamp(0, 1) - x).square().sum()
        (slope,) = torch.autograd.grad(error, latents)
        with torch.no_grad():
            now = bits_of(symbols, sigma)
            gains = [now - bits_of(symbols + step, sigma) - weight * step * slope - STEP_COSTS for step in (-1, 1)]
            best = torch.maximum(*gains)
            step = 2 * (gains[1] > gains[0]).to(symbols.dtype) - 1
            symbols = symbols + step * ((best > 0) & (turn == number % 2))
        advance()
    return subject.settled(symbols)


def _turns(shape: torch.Size, device: torch.device) -> Tensor:
    """Which half of the latents may move in which round: a chequerboard, shifted from channel to channel."""
    channel, row, column = (torch.arange(n, device=device) for n in shape[1:])
    return (channel[:, None, None] + row[:, None] + column) % 2
