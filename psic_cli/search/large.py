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

from psic_cli.networks.backbone import STRIDE
from psic_cli.networks.padded import Padded, as_floats
from psic_cli.networks.strips import in_strips
from psic_cli.search.eyes import Eyes
from psic_cli.search.shield import LEAST, MOMENTUM, Aim, share_of, symbols_of, weights_of
from psic_cli.search.subject import Subject
from psic_cli.search.views import resized, shrunk_size
from psic_cli.vlp.interface import Surrogate

SIDE = 320  # pixels of the shorter side of a thumbnail; pictures up to that are searched as they are
PACE = 8.0  # of all steps on the thumbnail together, in radii of what may change
SHRINK = 0.18  # displacements, after each pass
SPARED = 0.9  # share of a step that is spared where people see it
COLOURLESS = 10.0  # see Eyes; more than in a small picture, as what a thumbnail changes is enlarged
OVERDRAWN_DB = 1.0  # of the limit: what the thumbnail may change for, as rounding and shrinking take back a part of it


@torch.no_grad()
def move_large(
    subject: Subject,
    analysed: Tensor,
    surrogates: Sequence[Surrogate],
    aim: Aim,
    passes: int,
    advance: Callable[[], None] = lambda: None,
) -> Tensor:
    """As shield.move_latents, for a picture whose shorter side is longer than `SIDE`. analysed: its latents as the
    network's analysis gives them, wherever the subject's own lie. aim.steps are those on the thumbnail, of all passes
    together. advance: called after each pass.
    """
    height, width = subject.levels.shape[2:]
    size = shrunk_size(height, width, SIDE)

    def narrowed(rows: Tensor) -> Tensor:
        return resized(rows[..., :width], rows.shape[2], size[1])

    def shown(displaced: Tensor) -> tuple[Tensor, Tensor]:
        narrow, error = subject.shown(symbols_of(subject, displaced), narrowed)
        return resized(narrow, *size), error

    displaced = torch.zeros_like(subject.latents)
    seen, error = shown(displaced)
    before, allowed = seen, error + LEAST
    radius = (allowed * (10 ** (OVERDRAWN_DB * aim.limit_db / 10) - 1)).sqrt()
    columns = width // STRIDE**2  # as a strip has so many pixels per cell
    original = in_strips(lambda levels: narrowed(as_floats(levels)), subject.levels, cell_columns=columns)
    wanted = _Wanted(resized(original, *size), surrogates, aim, radius, -(-aim.steps // passes))
    for number in range(passes):
        changed = seen - before
        found = subject.analyse(_with(subject.levels, wanted.change(before, changed) - changed)).float()
        displaced = subject.each(_displaced, displaced, found, analysed).joined(into=found)
        del found  # of a large picture such planes take hundreds of megabytes
        if number < passes - 1:
            seen, _ = shown(displaced)
        advance()
    return subject.settled(share_of(subject, displaced, aim.share))


def _displaced(subject: Subject, before: Tensor, found: Tensor, analysed: Tensor) -> Tensor:
    """Displacements of latents after a pass. Where a step costs bits, few are taken.

    before: those before it. found: y of the picture with what is missing. analysed: latents of the picture as it is.
    """
    change = subject.scale(found) - analysed
    return F.softshrink(before + subject.sigma.clamp_max(1.0) * change, SHRINK)


def _with(levels: Tensor, missing: Tensor) -> Padded:
    """A picture and what a thumbnail of it [1, 3, h, w] is missing, enlarged: columns at once, rows when asked for."""
    height, width = levels.shape[2:]

    def enlarged(x: Tensor, height: int, width: int) -> Tensor:
        return F.interpolate(x, (height, width), mode="bicubic", align_corners=False)

    tall = enlarged(missing, height, missing.shape[3])
    return Padded(levels, lambda rows: enlarged(tall[:, :, rows], rows.stop - rows.start, width))


class _Wanted:
    """What a thumbnail should change into: steps away from the original [1, 3, h, w], as surrogates see it."""

    def __init__(self, original: Tensor, surrogates: Sequence[Surrogate], aim: Aim, radius: Tensor, looks: int) -> None:
        """radius: root mean square that the change may reach. looks: steps in each pass."""
        self._eyes = Eyes(original, surrogates, aim.at_once, aim.resolution, COLOURLESS)
        self._seen = 1 - SPARED + SPARED * weights_of(original)
        self._direction = 1.0 if aim.likeness > 0 else -1.0
        self._radius, self._pace, self._looks = radius, PACE / aim.steps, looks
        self._momentum, self._step = torch.zeros_like(original), 0

    @torch.enable_grad()  # type: ignore[misc]
    def change(self, before: Tensor, change: Tensor) -> Tensor:
        """A thumbnail without a shield, and how it has changed -> how it should change: [1, 3, h, w]."""
        for _ in range(self._looks):
            shown = (before + change).requires_grad_(True)
            (gradient,) = torch.autograd.grad(self._eyes.likeness(shown, self._step), shown)
            gradient = self._direction * gradient / self._seen
            self._momentum = MOMENTUM * self._momentum + (1 - MOMENTUM) * gradient / _size(gradient)
            change = change - self._pace * self._radius * self._momentum
            change = change * (self._radius / _size(change)).clamp_max(1.0)
            self._step += 1
        return change


def _size(x: Tensor) -> Tensor:
    """Root mean square."""
    return x.square().mean().sqrt().clamp_min(1e-20)
