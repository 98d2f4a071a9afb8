"""What surrogates see of a picture, and how like its original it looks to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.search.views import Journey, draw_windows
from psic_cli.vlp.interface import Surrogate

DEPTHS = (0.85, 1.0)  # of a tower's maps: what lies before the last ones is more alike in different models
SEED = 1  # of windows and what happens to them: the same input gives the same file


class Eyes:
    """Surrogates, and what they see of an original x [1, 3, H, W] in 0..1.

    at_once: surrogates asked in each step. resolution: at which they look, in pixels; None: their own. colourless: how
    much more readily brightness should change than colour: gradients in colours are so much smaller. People see changed
    colours in eyes, skin and metal, where brightness may change unseen.
    """

    def __init__(
        self,
        x: Tensor,
        surrogates: Sequence[Surrogate],
        at_once: int = 1,
        resolution: int | None = None,
        colourless: float = 1.0,
    ) -> None:
        self._surrogates, self._at_once, self._resolution = surrogates, min(at_once, len(surrogates)), resolution
        self._colourless = colourless
        generator = torch.Generator("cpu").manual_seed(SEED)
        self._x, self._windows = x, draw_windows(x.shape[2], x.shape[3], generator)
        self._journey = Journey(generator)
        self._seen: dict[tuple[int, int], list[Tensor]] = {}

    def likeness(self, x_hat: Tensor, step: int) -> Tensor:
        """Cosine between the maps of the original and of a picture x_hat, -1..1, through the window of a step: its mean
        over surrogates and depths. x_hat: as a decoder makes it, not clamped.
        """
        number = step % len(self._windows)
        window = self._windows[number]
        shown = self._journey(window.of(_less_colour(_clamped(x_hat), self._colourless)))
        asked = [(step * self._at_once + k) % len(self._surrogates) for k in range(self._at_once)]
        pairs = [pair for k in asked for pair in zip(self._maps(k, shown), self._original(k, number), strict=True)]
        return torch.stack([F.cosine_similarity(*pair, dim=1) for pair in pairs]).mean()

    @torch.no_grad()
    def _original(self, surrogate: int, window: int) -> list[Tensor]:
        if (surrogate, window) not in self._seen:
            self._seen[surrogate, window] = self._maps(surrogate, self._windows[window].of(self._x))
        return self._seen[surrogate, window]

    def _maps(self, surrogate: int, pictures: Tensor) -> list[Tensor]:
        """What a surrogate sees where, at each depth, flattened: [1, C * h * w]."""
        maps = self._surrogates[surrogate].features(pictures, self._resolution, DEPTHS)
        return [each.flatten(1) for each in maps]


def _less_colour(x: Tensor, times: float) -> Tensor:
    """A picture as it is, with gradients of its colours that are so many times smaller."""
    colour = x - x.mean(1, keepdim=True)
    return x - (1 - 1 / times) * (colour - colour.detach())


def _clamped(x_hat: Tensor) -> Tensor:
    """A picture as decoders clamp it, 0..1, with gradients as if they did not: plain clamping would leave none exactly
    where a shield pushes hardest.
    """
    return x_hat + (x_hat.clamp(0, 1) - x_hat).detach()
