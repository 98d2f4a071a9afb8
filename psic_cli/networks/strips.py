"""Large pictures in horizontal strips, so that memory grows with the width of a picture and not with its area.

Each strip is computed with some rows around it (the halo). With a halo as large as the view of the convolutions the
result is that of one pass, up to rounding. Where gradients are asked for, each strip is computed once more on the way
back, instead of being remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

STRIP_CELLS = 2**14  # cells of the coarser side (16 x 16 pixels each) per strip: four megapixels
Finish = Callable[
    [Tensor, slice], Tensor
]  # a strip of a result and which of its rows it is -> what is kept, row by row


def as_it_is(piece: Tensor, rows: slice) -> Tensor:
    return piece


class Rows(Protocol):
    """[B, C, H, W] of which a slice of the rows can be had, as x[:, :, rows]: a tensor, or what makes rows when they
    are asked for.
    """

    @property
    def shape(self) -> torch.Size: ...

    def __getitem__(self, where: tuple[slice, slice, slice], /) -> Tensor: ...


@dataclass(frozen=True)
class Made:
    """Rows that are made of those of planes [B, C, H, W] of one height when they are asked for."""

    make: Callable[..., Tensor]
    planes: tuple[Rows, ...]

    @property
    def shape(self) -> torch.Size:
        """Of the first of the planes."""
        return self.planes[0].shape

    def __getitem__(self, where: tuple[slice, slice, slice]) -> Tensor:
        return self.make(*(plane[where] for plane in self.planes))

    def joined(self, into: Tensor | None = None) -> Tensor:
        """All rows. into: what they are written to, which may be one of the planes that they are made of."""
        return in_strips(lambda rows: rows, self, cell_columns=self.shape[3], into=into)


@dataclass(frozen=True)
class Strip:
    """Cells first..last, computed with those from `top` to `bottom`."""

    first: int
    last: int
    top: int
    bottom: int

    def own(self, unit: int = 1) -> slice:
        """Its rows, where a cell has `unit` rows."""
        return slice(self.first * unit, self.last * unit)

    def seen(self, unit: int) -> slice:
        """The rows that it is computed from."""
        return slice(self.top * unit, self.bottom * unit)

    def inside(self, unit: int) -> slice:
        """Its rows among those that were computed."""
        return slice((self.first - self.top) * unit, (self.last - self.top) * unit)


def strips(cells: int, cell_columns: int, halo: int = 0) -> Iterator[Strip]:
    """What a picture of so many rows of cells is cut into: see `in_strips`."""
    step = max(1, halo, STRIP_CELLS // max(1, cell_columns))
    if cells <= step + halo:
        step = cells
    for first in range(0, cells, step):
        last = min(cells, first + step)
        yield Strip(first, last, max(0, first - halo), min(cells, last + halo))


def in_strips(
    part: Callable[..., Tensor],
    *planes: Rows,
    row_unit: int = 1,
    cell_columns: int,
    halo: int = 0,
    finish: Finish = as_it_is,
    into: Tensor | None = None,
) -> Tensor:
    """Apply `part` to planes [B, C, H, W] of one height strip by strip, and join the results along the rows.

    row_unit: rows of the planes per cell; `part` must map k cells of rows to a fixed number of rows for each cell.
    cell_columns: cells per row of the picture. halo: cells of view that a strip needs above and below. finish: what is
    done to each strip before they are joined. into: what the result is written to; None: memory of its own.
    """
    cells, joined = planes[0].shape[2] // row_unit, into
    for strip in strips(cells, cell_columns, halo):
        alone = strip.last - strip.first == cells
        piece = (part if alone else _forgetful(part))(*(plane[:, :, strip.seen(row_unit)] for plane in planes))
        rows = piece.shape[2] // (strip.bottom - strip.top)
        piece = finish(piece[:, :, strip.inside(rows)], strip.own(rows))
        if alone and joined is None:
            return piece
        if joined is None:  # written to at once: pieces and what they are joined to would take twice the memory
            channels_last = piece.is_contiguous(memory_format=torch.channels_last)
            joined = torch.empty(
                (*piece.shape[:2], cells * rows, piece.shape[3]),
                dtype=piece.dtype,
                device=piece.device,
                memory_format=torch.channels_last if channels_last else torch.contiguous_format,
            )
        joined[:, :, strip.own(rows)] = piece
    assert joined is not None
    return joined


def _forgetful(part: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def called(*planes: Tensor) -> Tensor:
        if torch.is_grad_enabled() and any(rows.requires_grad for rows in planes):
            return checkpoint(part, *planes, use_reentrant=False, preserve_rng_state=False)  # type: ignore[no-any-return]
        return part(*planes)

    return called
