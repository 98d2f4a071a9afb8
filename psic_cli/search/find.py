"""All that is searched for one picture, in its order: the full picture's latents, then those of the protected one.

Start with `find_latents`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from psic_cli.bitstream.header import Header
from psic_cli.latents import level_of
from psic_cli.search.effort import EFFORTS, MOST_EFFORT
from psic_cli.search.rounding import chosen_rounding
from psic_cli.search.shield import Aim, move_latents
from psic_cli.search.subject import subject_of
from psic_cli.search.surrogates import surrogates_of
from psic_cli.vlp.interface import Surrogate
from psic_cli.zoo import Model

BUDGET_DB = 1.2  # what a whole shield may cost, PSNR


def find_latents(
    x: Tensor,
    latents: Tensor,
    z: Tensor,
    header: Header,
    model: Model,
    effort: int,
    surrogates: Sequence[Surrogate] | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Where the latents of a picture x [1, 3, H, W] should lie: of the full picture, and of one that models misread,
    [1, M, h, w] both, in steps of quantisation, as `latents` are.

    z: its integers. header: of the file, whose quality and strength count. effort, surrogates, advance: as codec.encode
    takes them; ValueError for an effort that there is not.
    """
    if not 0 <= effort <= MOST_EFFORT:
        raise ValueError(f"effort {effort} is not a whole number from 0 to {MOST_EFFORT}")
    spent, full = EFFORTS[effort], latents
    steps = spent.steps_for(x[0, 0].numel()) if header.strength else 0
    done, of = 0, spent.rounds + steps

    def step_done() -> None:
        nonlocal done
        done += 1
        if advance is not None:
            advance(done, of)

    if spent.rounds:
        subject = subject_of(x, latents, z, header, model, protected=False)
        full = chosen_rounding(subject, model.network, level_of(header, model), spent.rounds, step_done)
    if not steps:
        return full, full
    subject = subject_of(x, full, z, header, model)
    aim = Aim(BUDGET_DB, steps, spent.at_once, spent.resolution, header.strength / 100)
    return full, move_latents(subject, surrogates or surrogates_of((), model.device), aim, step_done)
