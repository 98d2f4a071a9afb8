"""The search for the latents of a picture that models misread.

    latents --rounded--> synthesis --> windows, what happens to pictures --> surrogates --> likeness to the original
       ^                     |                                                                     |
       |               rate, distortion                                                            |
       +--- step along the normalised gradient of likeness + rate + what exceeds the limit on distortion

Few latents move, most of them by one step of quantisation, so the way back is short: it is what a file seals. Start
with `move_latents`. What makes a shield cheap, and carries it over to models that took no part, was measured in turn:
maps of features rather than embeddings, a window of its own in each step, steps along the normalised gradient with
momentum, and displacements that shrink a little after each step, so that what does not help goes back to where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.backbone import MEAN_BITS
from psic_cli.networks.integer_layers import round_through
from psic_cli.networks.strips import Made, Rows
from psic_cli.search.eyes import Eyes
from psic_cli.search.masking import price, visible
from psic_cli.search.subject import Subject, bits_of
from psic_cli.vlp.interface import Surrogate

MOMENTUM = 0.7
PACE = 0.4  # root mean square of the first step over all latents, in steps of quantisation
SLOWER = 0.8  # the last step is shorter by this share
SHRINK = 0.17  # displacements, after each step
SEEN = 0.5  # share of the distortion that is weighted by how well people see it
LEAST = 1e-8  # distortion: a flat picture may have none, of which nothing is a share
STRICTER, LAXER, TIGHT = 1.15, 0.93, (0.8, 80.0)  # how the weight of the limit follows what exceeds it
HALVINGS = 5  # of what is not known of how far a weaker shield displaces
LIKENESS = 3.3  # its weight, where all bits of the latents weigh 1
COLOURLESS = 2.0  # see Eyes
LEAST_GAIN = 0.2  # of a move, in squared steps of quantisation


@dataclass(frozen=True)
class Aim:
    """How far the latents are moved.

    limit_db: what the picture may lose, in dB. steps: of the search. at_once: surrogates asked in each step.
    resolution: at which they look, in pixels; None: their own. share: of the decibels that the whole would cost.
    likeness: its weight; below 0 the search is for a picture that models read better. rate: weight of the bits of the
    latents, as a share of what they were.
    """

    limit_db: float
    steps: int
    at_once: int
    resolution: int | None = None
    share: float = 1.0
    likeness: float = LIKENESS
    rate: float = 1.0


def moves_back(full: Tensor, symbols: Tensor, mean: Tensor) -> Tensor:
    """What leads from public symbols to those of the full picture: whole numbers [1, M, h, w].

    full: its latents, in steps of quantisation. mean: what the public symbols are coded around, in sixteenths. A move
    costs about nine bits, so those stay out that bring the full picture next to nothing.
    """

    def worthwhile(full: Tensor, symbols: Tensor, mean: Tensor) -> Tensor:
        wanted = full - mean.to(full.dtype) / 2**MEAN_BITS - symbols
        moves = wanted.round()
        return moves * (wanted.square() - (wanted - moves).square() >= LEAST_GAIN)

    return Made(worthwhile, (full, symbols, mean)).joined()


@torch.enable_grad()  # type: ignore[misc]
def move_latents(
    subject: Subject, surrogates: Sequence[Surrogate], aim: Aim, advance: Callable[[], None] = lambda: None
) -> Tensor:
    """Where the latents of a picture should lie, in steps of quantisation: [1, M, h, w].

    Those that should be coded as another symbol than by plain rounding lie where that symbol is; all others stay as
    they are. advance: called after each step.
    """
    x, start, mean, sigma = subject.x, subject.latents, subject.mean, subject.sigma
    with torch.no_grad():
        unhurried = sigma.clamp_max(1.0)  # where a step costs bits, few are taken
        weights = weights_of(x)
        bits_before = bits_of(subject.plain, sigma).sum()
    colourless = COLOURLESS if aim.likeness > 0 else 1.0  # what is drawn towards the original is no shield to be seen
    eyes, limit = Eyes(x, surrogates, aim.at_once, aim.resolution, colourless), None
    latents, momentum, tightness = start.clone().requires_grad_(True), torch.zeros_like(start), 4.0
    pace = PACE * start.numel() ** 0.5
    for step in range(aim.steps):
        symbols = round_through(latents - mean)
        x_hat = subject.paint(symbols + mean)
        distortion = _distortion(x_hat, x, weights)
        if limit is None:  # nothing has moved yet
            limit = distortion.detach() * 10 ** (aim.limit_db / 10)
        exceeded = distortion / limit
        loss = aim.likeness * eyes.likeness(x_hat, step)
        loss = loss + tightness * F.relu(exceeded - 1) + aim.rate * bits_of(symbols, sigma).sum() / bits_before
        (gradient,) = torch.autograd.grad(loss, latents)
        with torch.no_grad():
            gradient = gradient * unhurried
            momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient / gradient.norm().clamp_min(1e-20)
            displaced = latents - pace * (1 - SLOWER * step / aim.steps) * momentum - start
            latents.copy_(start + F.softshrink(displaced, SHRINK))
            tightness *= STRICTER if exceeded > 1 else LAXER
            tightness = min(max(tightness, TIGHT[0]), TIGHT[1])
        advance()
    return subject.settled(share_of(subject, latents.detach() - start, aim.share))


@torch.no_grad()
def share_of(subject: Subject, displaced: Tensor, share: float) -> Rows:
    """Symbols of latents that are displaced as far as costs that share of the decibels: [1, M, h, w]."""

    def distortion(part: float) -> float:
        return subject.shown(symbols_of(subject, displaced, part), lambda rows: rows[..., :0])[1].item() + LEAST

    if share >= 1:
        return symbols_of(subject, displaced)
    none, low, high = distortion(0.0), 0.0, 1.0
    wanted = none * (distortion(1.0) / none) ** share
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if distortion(middle) < wanted else (low, middle)
    return symbols_of(subject, displaced, low)


def symbols_of(subject: Subject, displaced: Tensor, part: float = 1.0) -> Rows:
    """Symbols of latents that are displaced by a part of that: [1, M, h, w]."""
    return subject.each(lambda own, displaced: (own.latents + part * displaced - own.mean).round(), displaced)


def weights_of(x: Tensor) -> Tensor:
    """Of a squared error at each place, mean 1: [1, 1, H, W]."""
    seen = price(visible(x))
    return seen / seen.mean()


def _distortion(x_hat: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    """Mean square error, as it is or as people see it, whichever is larger. x_hat: not clamped, as a decoder does."""
    error = (x_hat.clamp(0, 1) - x).square()
    plain = error.mean()
    return torch.maximum(plain, (1 - SEEN) * plain + SEEN * (weights * error).mean()) + LEAST
