"""How much an encoder may search: levels of effort 0..9, each of which pays for its time."""

from __future__ import annotations

from dataclasses import dataclass

MOST_EFFORT = 9
DEFAULT_EFFORT = 5


@dataclass(frozen=True)
class Effort:
    """steps: of the search for the shield. passes: in which those of a large picture are carried into its latents.
    at_once: surrogates that each step asks. rounds: of the search for rate and distortion. resolution: at which
    surrogates look, in pixels; None: their own.
    """

    steps: int
    passes: int
    at_once: int = 1
    rounds: int = 0
    resolution: int | None = None


EFFORTS = (
    Effort(1, 1, resolution=112),
    Effort(1, 1, resolution=144),
    Effort(4, 2),
    Effort(6, 2, rounds=2),
    Effort(9, 3, rounds=2),
    Effort(16, 4, rounds=4),
    Effort(22, 5, rounds=4),
    Effort(28, 6, rounds=6),
    Effort(28, 6, at_once=2, rounds=8),
    Effort(60, 10, at_once=2, rounds=12),
)
