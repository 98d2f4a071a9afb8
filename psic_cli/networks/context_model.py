"""The later coding steps of y: latents that are known already tell of those that are not, in integers.

The public latents are coded in four steps, a quarter of the places of each channel in each: those of the first step are
predicted from z alone (entropy_model.py), those of a later one also from the symbols of the steps before it, around
them and, in other channels, at their own place. The first two steps together are a chequerboard, and which places are
coded when changes from channel to channel ("Checkerboard Context Model for Efficient Learned Image Compression", He et
al., CVPR 2021; four steps with both kinds of neighbours as in DCVC-DC, Li et al., CVPR 2023).
Private latents never serve as context: whoever has no key must be able to read all public ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.bitstream.tables import N_SCALES
from psic_cli.networks.entropy_model import (
    ACTIVATION_BITS,
    ACTIVATION_MAX,
    INDEX_SHARE,
    MEAN_BITS,
    MEAN_MAX,
    WEIGHT_BITS,
    IntegerConv2d,
    accumulate,
    activate,
    require_exact,
    round_through,
)

KNOWN_MAX = 63  # symbols are clamped to it where they serve as context
LAST_BITS = WEIGHT_BITS + ACTIVATION_BITS  # of the last layer's accumulators
STEPS = 4  # of coding
PLACES = list(itertools.product(range(2), repeat=2))  # rows and columns in a cell of 2x2: all cells are coded alike


def step_of_each(latents: int, private: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """In which step each latent is coded: int8 [latents, height, width] of 0..3; the last `private` channels in the
    last.
    """
    channel, row, column = (torch.arange(n, device=device) for n in (latents, height, width))
    channel, row = channel[:, None, None], row[:, None]
    odd_channel, odd_pair, odd_row, odd_column = (
        n.remainder(2).to(torch.int8) for n in (channel, channel // 2, row, column)
    )
    colour, diagonal = odd_channel ^ odd_row ^ odd_column, odd_pair ^ odd_row
    steps = 2 * colour + diagonal
    steps[latents - private :] = STEPS - 1
    return steps


@dataclass(frozen=True)
class Correction:
    """What a context model adds at one place of all cells."""

    row: int  # of the cell
    column: int
    channels: Tensor  # numbers [n] of those whose turn it is
    mean: Tensor  # [B, n, h / 2, w / 2], sixteenths
    index: Tensor  # the same shape


class ContextModel(nn.Module):
    """Symbols of earlier steps, and what was predicted without them -> corrections of mean and table index.

        symbols -> 3x3 ---\
        features, index -> 1x1 -> + , ReLU -> 1x1, ReLU -> 1x1 -> (mean, index)

    The last layer starts at zero: an untrained model corrects nothing.
    """

    def __init__(self, latents: int, width: int) -> None:
        super().__init__()
        a = ACTIVATION_BITS
        self.layers = nn.ModuleList(
            [
                IntegerConv2d(latents, width, 3, input_bits=0),
                IntegerConv2d(width + latents, width, 1, input_bits=a),
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

    def forward(self, known: Tensor, features: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """known: symbols, 0 where unknown, [B, latents, h, w]; features [B, width, h, w] in 0..255 and index
        [B, latents, h, w] as predicted from z -> what to add to mean (sixteenths) and index, integers of that shape.
        """
        near, here, inner, last = self.convolutions()
        h = self._activated(near(known.clamp(-KNOWN_MAX, KNOWN_MAX)), here(torch.cat([features, index], dim=1)))
        h = activate(inner(h), inner.accumulator_bits - ACTIVATION_BITS)
        mean, scale = last(h).chunk(2, dim=1)
        return _as_mean(mean), _as_scale(scale)

    def corrections(
        self, symbols: Tensor, features: Tensor, index: Tensor, known: Tensor, wanted: Tensor
    ) -> Iterator[Correction]:
        """What `forward` gives where it is wanted, from what is known: the same integers for two fifths of the
        products. h and w are even.

        symbols: [B, latents, h, w], integers of any type. known, wanted: bool [latents, 2, 2], for each place of a
        cell.
        """
        near, here, inner, last = self.convolutions()
        cells = {
            (row, column): self._padded(symbols[:, known[:, row, column], row::2, column::2], features.dtype)
            for row, column in PLACES
        }
        expected = here(torch.cat([features, index], dim=1))
        weight, bias = near.integer_weight(), near.integer_bias()
        for row, column in PLACES:
            here_expected = expected[..., row::2, column::2]
            height, width = here_expected.shape[-2:]
            terms = []
            for a, b in itertools.product(range(near.kernel), repeat=2):
                i, j = row + a - near.kernel // 2, column + b - near.kernel // 2  # -1..2, from the cell's corner
                top, left = 1 + i // 2, 1 + j // 2
                shifted = cells[i % 2, j % 2][..., top : top + height, left : left + width]
                terms.append((weight[:, known[:, i % 2, j % 2], a, b], shifted))
            h = self._activated(accumulate(bias, terms), here_expected)
            h = activate(inner(h), inner.accumulator_bits - ACTIVATION_BITS)
            channels = torch.nonzero(wanted[:, row, column])[:, 0]
            mean, scale = last(h, torch.cat([channels, channels + len(wanted)])).chunk(2, dim=1)
            yield Correction(row, column, channels, _as_mean(mean), _as_scale(scale))

    @staticmethod
    def _padded(symbols: Tensor, dtype: torch.dtype) -> Tensor:
        """Symbols as context, with zeros around them."""
        return F.pad(symbols.clamp(-KNOWN_MAX, KNOWN_MAX).to(dtype), (1, 1, 1, 1))

    def _activated(self, seen: Tensor, expected: Tensor) -> Tensor:
        """The first two layers' accumulators -> activations."""
        near, here = self.convolutions()[:2]
        shifted = [
            round_through(acc * 2.0 ** (ACTIVATION_BITS - layer.accumulator_bits))
            for acc, layer in ((seen, near), (expected, here))
        ]
        return (shifted[0] + shifted[1]).clamp(0, ACTIVATION_MAX)


def _as_mean(accumulator: Tensor) -> Tensor:
    return round_through(accumulator * 2.0 ** (MEAN_BITS - LAST_BITS)).clamp(-MEAN_MAX, MEAN_MAX)


def _as_scale(accumulator: Tensor) -> Tensor:
    return round_through(accumulator * (INDEX_SHARE * 2.0**-LAST_BITS)).clamp(-N_SCALES, N_SCALES)
