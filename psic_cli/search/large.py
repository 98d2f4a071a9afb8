"""The shield of a picture that is larger than models look at: found on a thumbnail, carried into the latents.

    latents --rounded--> synthesis --shrunk--> thumbnail --steps along the surrogates' gradient--> thumbnail wanted
       ^                                                                                                 |
       +--- + analysis(x + what is missing, enlarged) - analysis(x) <------------------------------------+

Models see a large picture shrunk to some 224..448 pixels, so a step of the search needs no more than a thumbnail. The
networks meet all of the picture only once in each of a few passes, forwards and in strips. What rounding took away, the
next pass sees to be missing. Start with `move_large`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.search.eyes import Eyes
from psic_cli.search.shield import LEAST, MOMENTUM, Aim, share_of, weights_of
from psic_cli.search.subject import Subject, clamp_through
from psic_cli.search.views import shrunk
from psic_cli.vlp.interface import Surrogate

SIDE = 320  # pixels of the shorter side of a thumbnail; pictures up to that are searched as they are
PACE = 8.0  # of all steps on the thumbnail together, in radii of what may change
SHRINK = 0.18  # displacements, after each pass
SPARED = 0.9  # share of a step that is spared where people see it
OVERDRAWN_DB = 1.25  # of the limit: what the thumbnail may change for, as rounding and shrinking take back a part of it


@torch.no_grad()
def move_large(
    subject: Subject, surrogates: Sequence[Surrogate], aim: Aim, passes: int, advance: Callable[[], None] = lambda: None
) -> Tensor:
    """As shield.move_latents, for a picture whose shorter side is longer than `SIDE`. aim.steps are those on the
    thumbnail, of all passes together. advance: called after each pass.
    """
    start, mean = subject.latents, subject.mean
    unhurried = subject.sigma.clamp_max(1.0)  # where a step costs bits, few are taken
    height, width = subject.x.shape[2:]
    x_hat = subject.paint(subject.plain + mean).clamp_(0, 1)
    before = seen = shrunk(x_hat, SIDE)
    allowed = x_hat.sub_(subject.x).square_().mean() + LEAST
    del x_hat  # as large as the picture
    radius = (allowed * (10 ** (OVERDRAWN_DB * aim.limit_db / 10) - 1)).sqrt()
    wanted = _Wanted(shrunk(subject.x, SIDE), surrogates, aim, radius, -(-aim.steps // passes))
    analysed, displaced = subject.analyse(subject.x), torch.zeros_like(start)
    for number in range(passes):
        changed = seen - before
        missing = wanted.change(before, changed) - changed
        enlarged = F.interpolate(missing, (height, width), mode="bicubic", align_corners=False).add_(subject.x)
        displaced += unhurried * (subject.analyse(enlarged) - analysed)
        displaced = F.softshrink(displaced, SHRINK)
        if number < passes - 1:
            del enlarged
            seen = shrunk(subject.paint((start + displaced - mean).round() + mean).clamp_(0, 1), SIDE)
        advance()
    return subject.settled(share_of(subject, displaced, aim.share))


class _Wanted:
    """What a thumbnail should change into: steps away from the original [1, 3, h, w], as surrogates see it."""

    def __init__(self, original: Tensor, surrogates: Sequence[Surrogate], aim: Aim, radius: Tensor, looks: int) -> None:
        """radius: root mean square that the change may reach. looks: steps in each pass."""
        self._eyes = Eyes(original, surrogates, aim.at_once, aim.resolution)
        self._seen = 1 - SPARED + SPARED * weights_of(original)
        self._direction = 1.0 if aim.likeness > 0 else -1.0
        self._radius, self._pace, self._looks = radius, PACE / aim.steps, looks
        self._momentum, self._step = torch.zeros_like(original), 0

    @torch.enable_grad()  # type: ignore[misc]
    def change(self, before: Tensor, change: Tensor) -> Tensor:
        """A thumbnail without a shield, and how it has changed -> how it should change: [1, 3, h, w]."""
        for _ in range(self._looks):
            shown = (before + change).requires_grad_(True)
            (gradient,) = torch.autograd.grad(self._eyes.likeness(clamp_through(shown), self._step), shown)
            gradient = self._direction * gradient / self._seen
            self._momentum = MOMENTUM * self._momentum + (1 - MOMENTUM) * gradient / _size(gradient)
            change = change - self._pace * self._radius * self._momentum
            change = change * (self._radius / _size(change)).clamp_max(1.0)
            self._step += 1
        return change


def _size(x: Tensor) -> Tensor:
    """Root mean square."""
    return x.square().mean().sqrt().clamp_min(1e-20)
