"""The later coding steps of y: latents that are known already tell of those that are not, in integers.

The latents are coded in four steps, a quarter of the places of each channel in each: those of the first step are
predicted from z alone (entropy_model.py), those of a later one also from the symbols of the steps before it, around
them and, in other channels, at their own place. The first two steps together are a chequerboard, and which places are
coded when changes from channel to channel ("Checkerboard Context Model for Efficient Learned Image Compression", He et
al., CVPR 2021; four steps with both kinds of neighbours as in DCVC-DC, Li et al., CVPR 2023).
Details (NetworkConfig.details) never serve as context: training found no use for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.bitstream.tables import N_SCALES
from psic_cli.networks.backbone import MEAN_BITS, Integers
from psic_cli.networks.entropy_model import INDEX_SHARE_BITS, MEAN_MAX
from psic_cli.networks.integer_layers import (
    ACTIVATION_BITS,
    LEAK,
    WEIGHT_BITS,
    IntegerConv2d,
    activate,
    as_bytes,
    require_exact,
    rounding_shift,
    saturate,
)

KNOWN_MAX = 63  # symbols are clamped to it where they serve as context
LAST_BITS = WEIGHT_BITS + ACTIVATION_BITS  # of the last layer's accumulators
STEPS = 4  # of coding
PATTERNS = 4  # of places: every fourth channel has the same
Where = tuple[EllipsisType | slice, ...]  # an index
PLACES = list(itertools.product(range(2), repeat=2))  # rows and columns in a cell of 2x2: all cells are coded alike


def step_of_each(latents: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """In which step each latent is coded: int8 [latents, height, width] of 0..3."""
    channel, row, column = (torch.arange(n, device=device) for n in (latents, height, width))
    channel, row = channel[:, None, None], row[:, None]
    odd_channel, odd_pair, odd_row, odd_column = (
        n.remainder(2).to(torch.int8) for n in (channel, channel // 2, row, column)
    )
    colour, diagonal = odd_channel ^ odd_row ^ odd_column, odd_pair ^ odd_row
    return 2 * colour + diagonal


def turns(step: int) -> list[Where]:
    """Where in planes [..., latents, h, w] the latents of a step are: PATTERNS indexes, the n-th for the channels n,
    n + PATTERNS ... and a quarter of the places, [..., channels, h / 2, w / 2] each.
    """
    places = [torch.nonzero(of_channel == step)[0].tolist() for of_channel in step_of_each(PATTERNS, 2, 2)]
    return [
        (..., slice(first, None, PATTERNS), slice(row, None, 2), slice(column, None, 2))
        for first, (row, column) in enumerate(places)
    ]


def gathered(planes: Integers, step: int) -> Integers:
    """The latents of a coding step, of planes [latents, h, w], as they stand in the stream: channel by channel, row by
    row.
    """
    parts = [planes[where] for where in turns(step)]
    joined = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), np.int32)
    for first, part in enumerate(parts):
        joined[first::PATTERNS] = part
    return joined.ravel()


def scatter(planes: Integers, step: int, symbols: Integers) -> None:
    """The inverse of `gathered`: into planes [latents, h, w]."""
    for first, where in enumerate(turns(step)):
        target = planes[where]
        target[...] = symbols.reshape(len(planes), *target.shape[1:])[first::PATTERNS]


@dataclass(frozen=True)
class Correction:
    """What a context model adds somewhere."""

    where: Where  # in [B, latents, h, w]
    mean: Tensor  # sixteenths
    index: Tensor


class ContextModel(nn.Module):
    """Symbols of earlier steps, and what was predicted without them -> corrections of mean and table index.

        symbols -> 3x3 ---\
        features, index -> 1x1 -> + , ReLU -> 1x1, ReLU -> 1x1 -> (mean, index)

    The last layer starts at zero: an untrained model corrects nothing.

    Args:
        details: the symbols of the first so many latents are not looked at.
        levels: of quality; the second layer has a bias of each.
    """

    def __init__(self, latents: int, width: int, levels: int, details: int = 0) -> None:
        super().__init__()
        a = ACTIVATION_BITS
        self.details = details
        self.layers = nn.ModuleList(
            [
                IntegerConv2d(latents - details, width, 3, input_bits=0),
                IntegerConv2d(width + latents, width, 1, input_bits=a, levels=levels),
                IntegerConv2d(width, width, 1, input_bits=a),
                IntegerConv2d(width, 2 * latents, 1, input_bits=a),
            ]
        )
        nn.init.zeros_(self.convolutions()[-1].weight)

    def convolutions(self) -> list[IntegerConv2d]:
        """The layers in the order of the drawing, the 3x3 first."""
        return list(self.layers)  # type: ignore[arg-type]

    def check_exact(self) -> None:
        """Raise ValueError if any accumulator could leave the range in which float32 is exact."""
        require_exact("the context model", self.convolutions(), largest_input=KNOWN_MAX)

    def forward(self, known: Tensor, features: Tensor, index: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """known: symbols, 0 where unknown, [B, latents, h, w]; features [B, width, h, w] in 0..255 and index
        [B, latents, h, w] as predicted from z; levels [B] -> what to add to mean (sixteenths) and index, integers of
        that shape.
        """
        near, here, inner, last = self.convolutions()
        known = known[:, self.details :].clamp(-KNOWN_MAX, KNOWN_MAX)
        h = self._activated(near(known), here(torch.cat([features, index], dim=1), level=level))
        h = activate(inner(h), inner.accumulator_bits - ACTIVATION_BITS, self._leak)
        mean, scale = last(h).chunk(2, dim=1)
        return _as_mean(mean), _as_scale(scale)

    def corrections(
        self, symbols: Tensor, features: Tensor, index: Tensor, level: Tensor, step: int
    ) -> Iterator[Correction]:
        """What `forward` gives for the latents of a step 1..3, from the symbols of those before it: the same integers
        for two fifths of the products. h and w are even.

        symbols: [B, latents, h, w], integers of any type.
        """
        near, here, inner, last = self.convolutions()
        latents = symbols.shape[1]
        known = (step_of_each(latents, 2, 2, symbols.device) < step)[self.details :]
        context = symbols[:, self.details :]
        cells = {
            (row, column): self._padded(context[:, known[:, row, column], row::2, column::2], features.dtype)
            for row, column in PLACES
        }
        expected = here(torch.cat([features, index], dim=1), level=level)
        numbers = torch.arange(latents, device=symbols.device)
        for turn in turns(step):
            channels, *place = (part for part in turn if isinstance(part, slice))
            row, column = (part.start for part in place)
            here_expected = expected[..., row::2, column::2]
            height, width = here_expected.shape[-2:]
            around = []
            for a, b in itertools.product(range(near.kernel), repeat=2):
                i, j = row + a - near.kernel // 2, column + b - near.kernel // 2  # -1..2, from the cell's corner
                top, left = 1 + i // 2, 1 + j // 2
                shifted = cells[i % 2, j % 2][..., top : top + height, left : left + width]
                around.append(((slice(None), known[:, i % 2, j % 2], a, b), shifted))
            h = self._activated(near.sum_of_products((row, column), around), here_expected)
            h = activate(inner(h), inner.accumulator_bits - ACTIVATION_BITS)
            mean, scale = last(h, torch.cat([numbers[channels], latents + numbers[channels]])).chunk(2, dim=1)
            yield Correction(turn, _as_mean(mean), _as_scale(scale))

    @staticmethod
    def _padded(symbols: Tensor, dtype: torch.dtype) -> Tensor:
        """Symbols as context, with zeros around them."""
        context = symbols.clamp(-KNOWN_MAX, KNOWN_MAX)
        return F.pad(as_bytes(context) if dtype == torch.int32 else context.to(dtype), (1, 1, 1, 1))

    def _activated(self, seen: Tensor, expected: Tensor) -> Tensor:
        """The first two layers' accumulators -> activations."""
        near, here = self.convolutions()[:2]
        shifted = [
            rounding_shift(acc, layer.accumulator_bits - ACTIVATION_BITS)
            for acc, layer in ((seen, near), (expected, here))
        ]
        return saturate(shifted[0] + shifted[1], self._leak)

    @property
    def _leak(self) -> float:
        return LEAK if self.training else 0.0


def _as_mean(accumulator: Tensor) -> Tensor:
    return rounding_shift(accumulator, LAST_BITS - MEAN_BITS).clamp(-MEAN_MAX, MEAN_MAX)


def _as_scale(accumulator: Tensor) -> Tensor:
    return rounding_shift(accumulator, LAST_BITS - INDEX_SHARE_BITS).clamp(-N_SCALES, N_SCALES)
