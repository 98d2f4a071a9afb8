"""The later coding steps of y: latents that are known already tell of those that are not, in integers.

The public latents are coded in four steps, a quarter of the places of each channel in each: those of the first step are
predicted from z alone (entropy_model.py), those of a later one also from the symbols of the steps before it, around
them and, in other channels, at their own place. The first two steps together are a chequerboard, and which places are
coded when changes from channel to channel ("Checkerboard Context Model for Efficient Learned Image Compression", He et
al., CVPR 2021; four steps with both kinds of neighbours as in DCVC-DC, Li et al., CVPR 2023).
Private latents never serve as context: whoever has no key must be able to read all public ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from psic_cli.bitstream.tables import N_SCALES
from psic_cli.networks.entropy_model import (
    ACTIVATION_BITS,
    ACTIVATION_MAX,
    INDEX_SHARE,
    MEAN_BITS,
    MEAN_MAX,
    IntegerConv2d,
    activate,
    require_exact,
    round_through,
)

KNOWN_MAX = 63  # symbols are clamped to it where they serve as context


STEPS = 4  # of coding


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
        seen = near(known.clamp(-KNOWN_MAX, KNOWN_MAX))
        expected = here(torch.cat([features, index], dim=1))
        shifted = [
            round_through(acc * 2.0 ** (ACTIVATION_BITS - layer.accumulator_bits))
            for acc, layer in ((seen, near), (expected, here))
        ]
        h = (shifted[0] + shifted[1]).clamp(0, ACTIVATION_MAX)
        h = activate(inner(h), inner.accumulator_bits - ACTIVATION_BITS)
        mean, scale = last(h).chunk(2, dim=1)
        mean = round_through(mean * 2.0 ** (MEAN_BITS - last.accumulator_bits)).clamp(-MEAN_MAX, MEAN_MAX)
        scale = round_through(scale * (INDEX_SHARE * 2.0**-last.accumulator_bits)).clamp(-N_SCALES, N_SCALES)
        return mean, scale
