"""How much an encoder may search: levels of effort 0..9, each of which pays for its time."""

from __future__ import annotations

from dataclasses import dataclass

MOST_EFFORT = 9
DEFAULT_EFFORT = 5
SMALL = 2**16  # pixels: larger pictures get fewer steps, each of which costs more
FEWEST = 3  # steps, but where there are fewer for small ones


@dataclass(frozen=True)
class Effort:
    """steps: of the search for the shield of a small picture. at_once: surrogates that each step asks. rounds: of the
    search for rate and distortion. resolution: at which surrogates look, in pixels; None: their own.
    """

    steps: int
    at_once: int = 1
    rounds: int = 0
    resolution: int | None = None

    def steps_for(self, pixels: int) -> int:
        """Steps for a picture of so many pixels."""
        fewer = round(self.steps * (SMALL / max(pixels, SMALL)) ** 0.25)
        return max(min(FEWEST, self.steps), fewer)


EFFORTS = (
    Effort(1, resolution=128),
    Effort(1),
    Effort(4),
    Effort(6, rounds=2),
    Effort(9, rounds=2),
    Effort(16, rounds=4),
    Effort(22, rounds=4),
    Effort(28, rounds=6),
    Effort(28, at_once=2, rounds=8),
    Effort(60, at_once=2, rounds=12),
)
