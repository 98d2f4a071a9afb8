"""Large pictures in horizontal strips, so that memory grows with the width of a picture and not with its area.

Each strip is computed with some rows around it (the halo). With a halo as large as the view of the convolutions the
result is that of one pass, up to rounding. Where gradients are asked for, each strip is computed once more on the way
back, instead of being remembered.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

STRIP_CELLS = 2**14  # cells of the coarser side (16 x 16 pixels each) per strip: four megapixels


def in_strips(part: Callable[[Tensor], Tensor], x: Tensor, row_unit: int, cell_columns: int, halo: int) -> Tensor:
    """Apply `part` to x [B, C, H, W] strip by strip and join the results along the rows.

    row_unit: rows of x per cell; `part` must map k cells of rows to a fixed number of rows for each cell.
    cell_columns: cells per row of the picture. halo: cells of view that a strip needs above and below.
    """
    cells = x.shape[2] // row_unit
    step = max(halo, STRIP_CELLS // max(1, cell_columns))
    if cells <= step + halo:
        return part(x)
    pieces = []
    for first in range(0, cells, step):
        last = min(cells, first + step)
        above, below = min(halo, first), min(halo, cells - last)
        piece = _forgetful(part, x[:, :, (first - above) * row_unit : (last + below) * row_unit])
        rows = piece.shape[2] // (last + below - first + above)
        pieces.append(piece[:, :, above * rows : piece.shape[2] - below * rows])
    return torch.cat(pieces, dim=2)


def _forgetful(part: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    if torch.is_grad_enabled() and rows.requires_grad:
        return checkpoint(part, rows, use_reentrant=False, preserve_rng_state=False)  # type: ignore[no-any-return]
    return part(rows)
