"""What surrogates see of a picture, and how like its original it looks to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.search.views import Journey, draw_windows
from psic_cli.vlp.interface import Surrogate

SEED = 1  # of windows and what happens to them: the same input gives the same file


class Eyes:
    """Surrogates, and what they see of an original x [1, 3, H, W] in 0..1.

    at_once: surrogates asked in each step. resolution: at which they look, in pixels; None: their own.
    """

    def __init__(
        self, x: Tensor, surrogates: Sequence[Surrogate], at_once: int = 1, resolution: int | None = None
    ) -> None:
        self._surrogates, self._at_once, self._resolution = surrogates, min(at_once, len(surrogates)), resolution
        generator = torch.Generator("cpu").manual_seed(SEED)
        self._x, self._windows = x, draw_windows(x.shape[2], x.shape[3], generator)
        self._journey = Journey(generator)
        self._seen: dict[tuple[int, int], Tensor] = {}

    def likeness(self, x_hat: Tensor, step: int) -> Tensor:
        """Cosine between the maps of the original and of a picture x_hat, -1..1, through the window of a step."""
        number = step % len(self._windows)
        window = self._windows[number]
        shown = self._journey(window.of(x_hat))
        asked = [(step * self._at_once + k) % len(self._surrogates) for k in range(self._at_once)]
        cosines = [F.cosine_similarity(self._maps(k, shown), self._original(k, number), dim=1) for k in asked]
        return torch.stack(cosines).mean()

    @torch.no_grad()
    def _original(self, surrogate: int, window: int) -> Tensor:
        if (surrogate, window) not in self._seen:
            self._seen[surrogate, window] = self._maps(surrogate, self._windows[window].of(self._x))
        return self._seen[surrogate, window]

    def _maps(self, surrogate: int, pictures: Tensor) -> Tensor:
        """What a surrogate sees where, its last maps, flattened: [1, C * h * w]."""
        return self._surrogates[surrogate].features(pictures, self._resolution)[0].flatten(1)
