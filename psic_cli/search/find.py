"""All that is searched for one picture, in its order: the full picture's latents, then those of the protected one.

Start with `find_latents`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from psic_cli import runtime
from psic_cli.bitstream.header import Header
from psic_cli.latents import level_of
from psic_cli.networks.backbone import Backbone
from psic_cli.search.effort import EFFORTS, MOST_EFFORT
from psic_cli.search.large import SIDE, move_large
from psic_cli.search.rounding import chosen_rounding
from psic_cli.search.shield import Aim, move_latents
from psic_cli.search.subject import Place, Subject, subject_of
from psic_cli.search.surrogates import surrogates_of
from psic_cli.vlp.interface import Surrogate
from psic_cli.zoo import Model

BUDGET_DB = 1.2  # what a whole shield may cost, PSNR
# Where little is left of a picture, models read it better if the latents are moved towards what they see in the
# original: below a quality, for at most so many dB of the full picture, PSNR, with these weights
READABLE_BELOW, READABLE_DB, READABLE_LIKENESS, READABLE_RATE = 15, 0.35, -6.0, 5.0


def find_latents(
    levels: Tensor,
    latents: Tensor,
    analysed: Tensor,
    z: Tensor,
    header: Header,
    model: Model,
    effort: int,
    surrogates: Sequence[Surrogate] | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Where the latents of a picture should lie, of the full one and of one that models misread, [1, M, h, w] both, in
    steps of quantisation, as `latents` are.

    levels: of the picture, uint8 [1, 3, H, W]. analysed: its latents as the network's analysis gives them, which
    `latents` may have left (see overshoot.py). z: its integers. header: of the file, whose quality and strength count.
    effort, surrogates, advance: as codec.encode takes them; ValueError for an effort that there is not.
    """
    if not 0 <= effort <= MOST_EFFORT:
        raise ValueError(f"effort {effort} is not a whole number from 0 to {MOST_EFFORT}")
    spent, large = EFFORTS[effort], header.short_side > SIDE
    shielded, made_readable = header.strength > 0, spent.rounds > 0 and header.quality < READABLE_BELOW
    full, tiles = latents, []
    if spent.rounds:
        tiles = list(subject_of(levels, latents, z, header, model, protected=False).tiles())
    done, of = 0, spent.rounds * len(tiles) + (shielded + made_readable) * (spent.passes if large else spent.steps)

    def step_done() -> None:
        nonlocal done
        done += 1
        if advance is not None:
            advance(done, of)

    def moved(latents: Tensor, protected: bool, aim: Aim) -> Tensor:
        subject = subject_of(levels, latents, z, header, model, protected)
        asked = surrogates or surrogates_of((), model.device)
        if large:
            return move_large(subject, analysed, asked, aim, spent.passes, step_done)
        return move_latents(subject, asked, aim, step_done)

    if tiles:
        full = torch.empty_like(latents)
        _round(tiles, full, model.network, level_of(header, model), spent.rounds, step_done)
        tiles.clear()  # what they stand for is as large as the picture
        runtime.give_freed_memory_back(levels.numel())  # gradients take much
    aim = Aim(BUDGET_DB, spent.steps, spent.at_once, spent.resolution, header.strength / 100)
    if made_readable:
        towards = replace(aim, limit_db=READABLE_DB, share=1.0, likeness=READABLE_LIKENESS, rate=READABLE_RATE)
        full = moved(full, protected=False, aim=towards)
    return full, moved(full, protected=True, aim=aim) if shielded else full


def _round(
    tiles: Sequence[tuple[Subject, Place, Place]],
    full: Tensor,
    network: Backbone[Any],
    level: Tensor,
    rounds: int,
    advance: Callable[[], None],
) -> None:
    """Write the chosen latents of every tile into those of the full picture."""
    for tile, own, place in tiles:
        chosen = chosen_rounding(tile, network, level, rounds, advance)
        full[:, :, place[0], place[1]] = chosen[:, :, own[0], own[1]]
