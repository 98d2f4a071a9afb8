"""What the entropy coder is told: integers only, so that every machine chooses the same tables.

z symbols -> `HyperSynthesis` -> for each latent a mean and a scale -> `LatentScaling` (quality level) -> a mean in
fixed point and a table index, which context_model.py corrects for the later coding steps. Everything between is integer
arithmetic, in the layers of integer_layers.py. After "Integer Networks for Data Compression with Latent-Variable
Models" (Balle et al., ICLR 2019). Training runs the same arithmetic with straight-through gradients, so there is no
float twin that could drift away. bitstream/FORMAT.md describes the same network for other readers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.bitstream.tables import LARGEST_SCALE, N_SCALES, SMALLEST_SCALE
from psic_cli.networks.backbone import MEAN_BITS, Z_MAX
from psic_cli.networks.cltg import QualityBiases
from psic_cli.networks.integer_layers import (
    ACTIVATION_BITS,
    ANCHORS,
    LEAK,
    IntegerConv2d,
    activate,
    anchor_levels,
    clamp_back,
    interpolated,
    require_exact,
    round_through,
    rounding_shift,
)
from psic_cli.networks.layers import Activation

MEAN_MAX = 2**12 - 1  # of an unscaled mean, in sixteenths
GAIN_BITS = 10  # gains are stored as round(gain * 2^10)
GAIN_MAX = 2**11
INDEX_SHARE_BITS = 4  # 16 table indexes per unit of the network's scale output
MEAN_SHARE_BITS = 3  # 8 latent units per unit of the network's mean output
LOG_SCALE_STEP = math.log(LARGEST_SCALE / SMALLEST_SCALE) / (N_SCALES - 1)


def scale_of_index(index: Tensor) -> Tensor:
    """Standard deviation for a (possibly fractional) table index 0..63."""
    return SMALLEST_SCALE * torch.exp(index * LOG_SCALE_STEP)


class HyperSynthesis(nn.Module):
    """h_s in integers: z [B, N, h/4, w/4] and levels [B] -> unscaled mean (sixteenths) and unscaled index, each
    [B, latents, h, w], and the features [B, width, h, w] in 0..255 that both were made from.

    z -> 3x3, ReLU -> 1x1, shuffle 2, ReLU -> 3x3, ReLU -> 1x1, shuffle 2, ReLU -> 3x3, ReLU -> 1x1 -> (mean, index)

    The 3x3 layers have a bias of each quality level.
    """

    def __init__(self, channels: int, width: int, latents: int, levels: int) -> None:
        super().__init__()
        a = ACTIVATION_BITS
        self.layers = nn.ModuleList(
            [
                IntegerConv2d(channels, width, 3, input_bits=0, levels=levels),
                IntegerConv2d(width, 4 * width, 1, input_bits=a),
                IntegerConv2d(width, width, 3, input_bits=a, levels=levels),
                IntegerConv2d(width, 4 * width, 1, input_bits=a),
                IntegerConv2d(width, width, 3, input_bits=a, levels=levels),
                IntegerConv2d(width, 2 * latents, 1, input_bits=a),
            ]
        )
        with torch.no_grad():  # start with small means and with scales of about 1 (index 20)
            last = self.convolutions()[-1]
            last.weight.mul_(0.1)
            last.bias[latents:] = 20.0 / 2**INDEX_SHARE_BITS

    def convolutions(self) -> list[IntegerConv2d]:
        """The layers from z to the outputs."""
        return list(self.layers)  # type: ignore[arg-type]

    def check_exact(self) -> None:
        """Raise ValueError if any accumulator could leave the range in which float32 is exact."""
        require_exact("the entropy network", self.convolutions(), largest_input=Z_MAX)

    def forward(self, z: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, last = z, self.convolutions()[-1]
        for number, layer in enumerate(self.convolutions()[:-1]):
            shift, leak = layer.accumulator_bits - ACTIVATION_BITS, LEAK if self.training else 0.0
            features = activate(layer(features, level=level), shift, leak)
            if number in (1, 3):
                features = F.pixel_shuffle(features, 2)
        mean, index = last(features).chunk(2, dim=1)
        bits = last.accumulator_bits
        mean = rounding_shift(mean, bits - MEAN_BITS - MEAN_SHARE_BITS).clamp(-MEAN_MAX, MEAN_MAX)
        return mean, rounding_shift(index, bits - INDEX_SHARE_BITS), features


class HyperAnalysis(nn.Module):
    """h_a, floating point (only the encoder runs it): y [B, latents, h, w], qualities [B] in 0..1 ->
    z [B, N, h/4, w/4], before rounding.

    y -> 1x1, act -> 2x2 stride 2, act -> 3x3, act -> 2x2 stride 2 -> z

    What of y is worth telling depends on the quality: each layer has a bias of it.
    """

    def __init__(self, latents: int, width: int, channels: int, activation: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(latents, width, 1),
            Activation(activation),
            nn.Conv2d(width, width, 2, stride=2),
            Activation(activation),
            nn.Conv2d(width, width, 3, padding=1),
            Activation(activation),
            nn.Conv2d(width, channels, 2, stride=2),
        )
        self.of_quality = QualityBiases([width, width, width, channels])

    @property
    def output(self) -> nn.Conv2d:
        """The layer that makes z."""
        return self.layers[-1]  # type: ignore[return-value]

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        h, biases = y / 8, iter(self.of_quality(quality))
        for layer in self.layers:
            h = layer(h)
            if isinstance(layer, nn.Conv2d):
                h = h + next(biases).to(h.dtype)
        return h


class LatentScaling(nn.Module):
    """One network for all qualities: a gain for each channel and level (Cui et al., CVPR 2021, "Asymmetric Gained
    ...").

    Gains are learned at a few anchor levels and interpolated on a log scale, so that each of the 64 levels is trained
    by its neighbours too. Encoder and decoder use the gain as an integer over 2^10; the synthesis uses a separate
    inverse gain.

    Level 0 is the smallest file. `lambda` runs log-spaced from 0.0008 to 0.08 on 255^2 MSE; the best step is
    proportional to 1 / sqrt(lambda), which is where the gains start: at 0.05 they are 1 (transforms.LATENT_SCALE).
    """

    def __init__(self, latents: int, levels: int = 64) -> None:
        super().__init__()
        self.levels = levels
        start = 0.5 * torch.linspace(math.log(0.0008 / 0.05), math.log(0.08 / 0.05), ANCHORS)
        self.log_gain = nn.Parameter(start[:, None].repeat(1, latents))
        self.log_inverse = nn.Parameter(-start[:, None].repeat(1, latents))

    def integer_gain(self, level: Tensor) -> Tensor:
        """Gain * 2^10, an integer 1..2048: [B] -> [B, latents, 1, 1]."""
        return round_through(interpolated(self.log_gain, level, self.levels).exp() * 2**GAIN_BITS).clamp(1, GAIN_MAX)

    def index_offset(self, level: Tensor) -> Tensor:
        """What the gain adds to a table index, an integer: [B] -> [B, latents, 1, 1]."""
        return round_through(interpolated(self.log_gain, level, self.levels) / LOG_SCALE_STEP)

    def inverse_gain(self, level: Tensor) -> Tensor:
        """What undoes the gain before the synthesis, a float: [B] -> [B, latents, 1, 1]."""
        return interpolated(self.log_inverse, level, self.levels).exp()

    @torch.no_grad()
    def start_from(self, frozen: FrozenScaling) -> None:
        """Go on from the tables of an exported model: the anchors are rows of them."""
        rows = anchor_levels(self.levels)
        self.log_gain.copy_((frozen.gain[rows] / 2**GAIN_BITS).log())
        self.log_inverse.copy_(frozen.inverse[rows].log())

    def freeze(self) -> FrozenScaling:
        """All levels worked out, for a model that will not be trained further."""
        levels = torch.arange(self.levels, device=self.log_gain.device)
        with torch.no_grad():
            rows = (self.integer_gain(levels), self.index_offset(levels), self.inverse_gain(levels))
        return FrozenScaling(*(row[:, :, 0, 0] for row in rows))


class FrozenScaling(nn.Module):
    """`LatentScaling` as three tables [levels, latents]; the first two are integers."""

    gain: Tensor
    offset: Tensor
    inverse: Tensor

    def __init__(self, gain: Tensor, offset: Tensor, inverse: Tensor) -> None:
        super().__init__()
        if not (gain.min() >= 1 and gain.max() <= GAIN_MAX and offset.abs().max() <= N_SCALES):  # catches NaN too
            raise ValueError("a gain or an offset of the latents is out of range")
        self.register_buffer("gain", gain)
        self.register_buffer("offset", offset)
        self.register_buffer("inverse", inverse)

    def integer_gain(self, level: Tensor) -> Tensor:
        return self.gain[level, :, None, None]

    def index_offset(self, level: Tensor) -> Tensor:
        return self.offset[level, :, None, None]

    def inverse_gain(self, level: Tensor) -> Tensor:
        return self.inverse[level, :, None, None]


def scale_mean(mean: Tensor, integer_gain: Tensor) -> Tensor:
    """Mean of the scaled latent in sixteenths: a product of integers below 2^23 and a rounding shift."""
    return rounding_shift(mean * integer_gain, GAIN_BITS)


def scale_index(index: Tensor, offset: Tensor) -> Tensor:
    """Table index 0..63 of the scaled latent."""
    return clamp_back(index + offset, 0, N_SCALES - 1)
