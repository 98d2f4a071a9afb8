"""What the entropy coder is told: integers only, so that every machine chooses the same tables.

z symbols -> `HyperSynthesis` -> for each latent a mean and a scale -> `LatentScaling` (quality level) -> a mean in
fixed point and a table index, which context_model.py corrects for the later coding steps. Everything between is integer
arithmetic, carried in floating-point tensors whose values stay exact: below 2^24 in float32, below 2^53 in float64
(`exact_type` chooses). After "Integer Networks for Data Compression with Latent-Variable Models" (Balle et al., ICLR
2019). Training runs the same arithmetic with straight-through gradients, so there is no float twin that could drift
away. bitstream/FORMAT.md describes the same network for other readers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.bitstream.tables import LARGEST_SCALE, N_SCALES, SMALLEST_SCALE

WEIGHT_BITS = 9  # a weight w is stored as round(w * 2^9)
ACTIVATION_BITS = 4  # an activation a is carried as round(a * 2^4), 0..255
ACTIVATION_MAX = 255
MEAN_BITS = 4  # means are carried in sixteenths
MEAN_MAX = 2**12 - 1  # of an unscaled mean, in sixteenths
GAIN_BITS = 10  # gains are stored as round(gain * 2^10)
GAIN_MAX = 2**11
INDEX_SHARE = 16  # table indexes per unit of the network's scale output
MEAN_SHARE = 8  # latent units per unit of the network's mean output
Z_MAX = 127
EXACT_LIMIT = 2**24 - 2**12  # float32 is exact below 2^24; the rest is room for what rounding adds
PROBED = 128  # channels and places: as many as kernels for large products are used for
PROBE = 2**16 + 2**8 + 1  # 17 bits: more than TF32 has, or two bfloat16; times an activation it stays below 2^24
LOG_SCALE_STEP = torch.log(torch.tensor(LARGEST_SCALE / SMALLEST_SCALE)).item() / (N_SCALES - 1)


def round_through(x: Tensor) -> Tensor:
    """Round half up; the gradient passes as if nothing had been done."""
    rounded = torch.floor(x.detach() + 0.5)
    return x + (rounded - x.detach()) if x.requires_grad else rounded


def clamp_z(z: Tensor) -> Tensor:
    """Round z to the symbols that are coded, -127..127."""
    return torch.floor(z + 0.5).clamp(-Z_MAX, Z_MAX)


def scale_of_index(index: Tensor) -> Tensor:
    """Standard deviation for a (possibly fractional) table index 0..63."""
    return SMALLEST_SCALE * torch.exp(index * LOG_SCALE_STEP)


class IntegerConv2d(nn.Module):
    """Stride-1 convolution with integer weights over integer inputs; zero padding keeps the size.

    Parameters are real numbers in training; `weight * 2^9` is rounded on every use. In evaluation it is a sum of
    products, one for each place of the kernel.

    Args:
        input_bits: fractional bits of the input integers.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, input_bits: int) -> None:
        super().__init__()
        self.kernel, self.accumulator_bits = kernel, WEIGHT_BITS + input_bits
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def integer_weight(self) -> Tensor:
        return round_through(self.weight * 2**WEIGHT_BITS)

    def integer_bias(self) -> Tensor:
        return round_through(self.bias * 2**self.accumulator_bits)

    def accumulator_bound(self, largest_input: int) -> float:
        """The largest magnitude that any output can reach; must stay below EXACT_LIMIT."""
        rows = self.integer_weight().detach().double().abs().flatten(1).sum(1) * largest_input
        return float((rows + self.integer_bias().detach().double().abs()).max())

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """[B, inputs, h, w] integers -> accumulators [B, outputs, h, w], `accumulator_bits` fractional bits.

        rows: numbers of the outputs that are wanted; all without.
        """
        weight, bias = self.integer_weight(), self.integer_bias()
        if rows is not None:
            weight, bias = weight[rows], bias[rows]
        if self.training:
            return F.conv2d(x, weight, bias, padding=self.kernel // 2)
        height, width, margin = *x.shape[-2:], self.kernel // 2
        padded = F.pad(x, (margin, margin, margin, margin))
        return accumulate(
            bias,
            (
                (weight[:, :, a, b], padded[:, :, a : a + height, b : b + width])
                for a, b in itertools.product(range(self.kernel), repeat=2)
            ),
        )


def accumulate(bias: Tensor, terms: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """bias [O], and pairs of weights [O, I] and planes [B, I, h, w] -> bias + the sum of products, [B, O, h, w].

    Plain matrix products: no kernel library may choose a fast algorithm (Winograd, FFT) that works with fractions.
    """
    acc = bias[:, None]
    for weight, x in terms:
        size = x.shape[-2:]
        acc = torch.baddbmm(acc, weight.expand(len(x), -1, -1), x.flatten(2))
    return acc.unflatten(2, size)


def exact_type(device: str | torch.device) -> torch.dtype:
    """The quickest float type in which `accumulate` is exact: float32, or float64 where this process lets less precise
    products take float32's place (bfloat16, TF32, autocast).

    To be asked for each picture: the switches are the host's, and a wrong symbol costs it the rest of the file.
    """
    numbers = torch.arange(PROBED, device=device, dtype=torch.float64)
    one = torch.eye(PROBED, device=device, dtype=torch.float64)
    weight = PROBE * one - (PROBE - 1) * one.roll(1, 0)
    x = (numbers[:, None] * 89 + numbers * 55).remainder(ACTIVATION_MAX + 1)[None, :, :, None]
    quick = accumulate(numbers.float(), [(weight.float(), x.float())])
    return torch.float32 if torch.equal(quick.double(), accumulate(numbers, [(weight, x)])) else torch.float64


def activate(accumulator: Tensor, shift: int) -> Tensor:
    """ReLU with rounding shift and saturation: integers 0..255."""
    return round_through(accumulator * 2.0**-shift).clamp(0, ACTIVATION_MAX)


def require_exact(name: str, layers: list[IntegerConv2d], largest_input: int) -> None:
    """Raise ValueError if an accumulator could leave the range in which float32 is exact.

    largest_input: of the first layer; the others' inputs are activations or indexes, 0..255.
    """
    for number, layer in enumerate(layers):
        bound = layer.accumulator_bound(ACTIVATION_MAX if number else largest_input)
        if not bound < EXACT_LIMIT:
            raise ValueError(f"layer {number} of {name} can reach {bound:.0f}, beyond exact arithmetic")


class HyperSynthesis(nn.Module):
    """h_s in integers: z [B, N, h/4, w/4] -> unscaled mean (sixteenths) and unscaled index, each [B, latents, h, w],
    and the features [B, width, h, w] in 0..255 that both were made from.

    z -> 3x3, ReLU -> 1x1, shuffle 2, ReLU -> 3x3, ReLU -> 1x1, shuffle 2, ReLU -> 3x3, ReLU -> 1x1 -> (mean, index)
    """

    def __init__(self, channels: int, width: int, latents: int) -> None:
        super().__init__()
        a = ACTIVATION_BITS
        self.layers = nn.ModuleList(
            [
                IntegerConv2d(channels, width, 3, input_bits=0),
                IntegerConv2d(width, 4 * width, 1, input_bits=a),
                IntegerConv2d(width, width, 3, input_bits=a),
                IntegerConv2d(width, 4 * width, 1, input_bits=a),
                IntegerConv2d(width, width, 3, input_bits=a),
                IntegerConv2d(width, 2 * latents, 1, input_bits=a),
            ]
        )
        with torch.no_grad():  # start with small means and with scales of about 1 (index 20)
            last = self.convolutions()[-1]
            last.weight.mul_(0.1)
            last.bias[latents:] = 20.0 / INDEX_SHARE

    def convolutions(self) -> list[IntegerConv2d]:
        """The layers from z to the outputs."""
        return list(self.layers)  # type: ignore[arg-type]

    def check_exact(self) -> None:
        """Raise ValueError if any accumulator could leave the range in which float32 is exact."""
        require_exact("the entropy network", self.convolutions(), largest_input=Z_MAX)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, last = z, self.convolutions()[-1]
        for number, layer in enumerate(self.convolutions()[:-1]):
            features = activate(layer(features), layer.accumulator_bits - ACTIVATION_BITS)
            if number in (1, 3):
                features = F.pixel_shuffle(features, 2)
        mean, index = last(features).chunk(2, dim=1)
        bits = last.accumulator_bits
        mean = round_through(mean * (MEAN_SHARE * 2.0 ** (MEAN_BITS - bits))).clamp(-MEAN_MAX, MEAN_MAX)
        return mean, round_through(index * (INDEX_SHARE * 2.0**-bits)), features


class HyperAnalysis(nn.Module):
    """h_a, floating point (only the encoder runs it): y [B, latents, h, w] -> z [B, N, h/4, w/4], before rounding.

    y -> 1x1, ReLU -> 2x2 stride 2, ReLU -> 3x3, ReLU -> 2x2 stride 2 -> z
    """

    def __init__(self, latents: int, width: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(latents, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, channels, 2, stride=2),
        )

    @property
    def output(self) -> nn.Conv2d:
        """The layer that makes z."""
        return self.layers[-1]  # type: ignore[return-value]

    def forward(self, y: Tensor) -> Tensor:
        z: Tensor = self.layers(y / 8)
        return z


class LatentScaling(nn.Module):
    """One network for all qualities: a gain for each channel and level (Cui et al., CVPR 2021, "Asymmetric Gained
    ...").

    Gains are learned at a few anchor levels and interpolated on a log scale, so that each of the 64 levels is trained
    by its neighbours too. Encoder and decoder use the gain as an integer over 2^10; the synthesis uses a separate
    inverse gain.

    Level 0 is the smallest file. `lambda` runs log-spaced from 0.0016 to 0.05 on 255^2 MSE; the best step is
    proportional to 1 / sqrt(lambda), which is where the gains start.
    """

    def __init__(self, latents: int, levels: int = 64, anchors: int = 8) -> None:
        super().__init__()
        self.levels = levels
        start = torch.linspace(-0.5 * torch.log(torch.tensor(0.05 / 0.0016)).item(), 0.0, anchors)
        self.log_gain = nn.Parameter(start[:, None].repeat(1, latents))
        self.log_inverse = nn.Parameter(-start[:, None].repeat(1, latents))

    def _at(self, anchors: Tensor, level: Tensor) -> Tensor:
        """Interpolate [A, latents] at integer levels [B] -> [B, latents, 1, 1]."""
        position = level.to(anchors.dtype) * (len(anchors) - 1) / (self.levels - 1)
        low = position.floor().clamp(0, len(anchors) - 2)
        share = (position - low)[:, None]
        rows = anchors[low.long()] * (1 - share) + anchors[low.long() + 1] * share
        return rows[:, :, None, None]

    def integer_gain(self, level: Tensor) -> Tensor:
        """Gain * 2^10, an integer 1..2048: [B] -> [B, latents, 1, 1]."""
        return round_through(self._at(self.log_gain, level).exp() * 2**GAIN_BITS).clamp(1, GAIN_MAX)

    def index_offset(self, level: Tensor) -> Tensor:
        """What the gain adds to a table index, an integer: [B] -> [B, latents, 1, 1]."""
        return round_through(self._at(self.log_gain, level) / LOG_SCALE_STEP)

    def inverse_gain(self, level: Tensor) -> Tensor:
        """What undoes the gain before the synthesis, a float: [B] -> [B, latents, 1, 1]."""
        return self._at(self.log_inverse, level).exp()

    @torch.no_grad()
    def start_from(self, frozen: FrozenScaling) -> None:
        """Go on from the tables of an exported model: the anchors are rows of them (levels 0, 9, 18 ... 63 of 64)."""
        rows = torch.linspace(0, self.levels - 1, len(self.log_gain)).round().long()
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
    return round_through(mean * integer_gain * 2.0**-GAIN_BITS)


def scale_index(index: Tensor, offset: Tensor) -> Tensor:
    """Table index 0..63 of the scaled latent."""
    return (index + offset).clamp(0, N_SCALES - 1)
