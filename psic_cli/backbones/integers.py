"""Networks that were trained in floating point, in integers: what decides a table is the same on every machine.

A layer's inputs are integers in a known range, its weights and biases integers in units of its own outputs, 2^-shift,
another shift for each of them. So what a layer gives are integers after a rounding shift alone, and the largest sum
that it can ever reach is known before any picture is: `make_exact` chooses the shifts so that float32 holds it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.networks.integer_layers import EXACT_LIMIT, accumulate
from psic_cli.networks.strips import in_strips

INTEGER_WEIGHT_MAX = 2**15 - 1
SHIFTS = range(1, 21)
ROUNDED = 1.1  # how much a bound can grow where weights are rounded, at most
LEAST_SEEN = -(2**12)  # of a negative output before its slope: what is below gives the same
SLOPE, SLOPE_BITS = 5, 9  # of LeakyReLU below zero: 5/512 for 0.01


class Activation(str, Enum):
    NONE = "none"
    RELU = "relu"
    LEAKY = "leaky"  # slope 0.01 below zero


@dataclass(frozen=True)
class Reach:
    """The range of an integer: low <= 0 <= high."""

    low: int
    high: int


SYMBOLS = Reach(-127, 127)
OUTPUTS = Reach(-(2**15), 2**15)  # of a last layer
HIDDEN = {Activation.NONE: Reach(-255, 255), Activation.RELU: Reach(0, 255), Activation.LEAKY: Reach(-16, 255)}


@dataclass(frozen=True)
class RealLayer:
    """A layer as it was trained: weight [O, I, K, K], bias [O], stride 1, zeros around; then `activation`; then every
    `shuffle`^2 outputs become a square of one channel.
    """

    weight: Tensor
    bias: Tensor
    activation: Activation = Activation.NONE
    shuffle: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        h = F.conv2d(x, self.weight.to(x.dtype), self.bias.to(x.dtype), padding=self.weight.shape[2] // 2)
        if self.activation is not Activation.NONE:
            h = F.leaky_relu(h, 0.01 if self.activation is Activation.LEAKY else 0.0)
        return F.pixel_shuffle(h, self.shuffle) if self.shuffle > 1 else h


def upsampling(weight: Tensor, bias: Tensor, activation: Activation) -> RealLayer:
    """A transposed convolution of stride 2, kernel 5, padding 2 and output padding 1, weight [I, O, 5, 5], as a 3x3
    convolution to four times the outputs and a shuffle.
    """
    inputs, outputs = weight.shape[:2]
    grown = weight.new_zeros(outputs, 2, 2, inputs, 3, 3)
    for row, column in itertools.product(range(2), repeat=2):
        # Output 2 i + row takes the taps row, row + 2 ... of inputs i + 1, i ...; tap t of input i + 1 - t // 2.
        taps = weight[:, :, row::2, column::2].flip(2, 3).transpose(0, 1)
        grown[:, row, column, :, 3 - taps.shape[2] :, 3 - taps.shape[3] :] = taps
    return RealLayer(grown.flatten(0, 2), bias.repeat_interleave(4), activation, shuffle=2)


class IntegerLayer(nn.Module):
    """`RealLayer` in integers: [B, I, h, w] within its inputs' reach -> [B, O, h, w] within its own.

        sums of products + bias -> rounding shift -> activation -> clamp -> shuffle

    Attributes: weight [O, I, K, K], bias [O] and shift [O], whole numbers; they are carried in a float type.
    """

    shift: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor, shift: Tensor, activation: Activation, shuffle: int, reach: Reach
    ) -> None:
        super().__init__()
        self.activation, self.shuffle, self.reach = activation, shuffle, reach
        self.weight, self.bias = (nn.Parameter(value.double(), requires_grad=False) for value in (weight, bias))
        self.register_buffer("shift", shift.double())
        self._margin = weight.shape[2] // 2
        # Taps without a weight, in a masked layer half of them, are left out.
        self._taps = weight.abs().sum((0, 1)).nonzero().tolist() or [[self._margin, self._margin]]

    @property
    def outputs(self) -> int:
        """Channels, after the shuffle."""
        return len(self.weight) // self.shuffle**2

    def check_exact(self, inputs: Reach) -> None:
        """Raise ValueError if float32 might not hold a sum, or a part of it, for inputs within their reach."""
        weight, bias, shift = self.weight.flatten(1), self.bias, self.shift
        if not (torch.isfinite(weight).all() and weight.abs().max() <= INTEGER_WEIGHT_MAX):
            raise ValueError(f"a weight is beyond {INTEGER_WEIGHT_MAX}")
        if not (shift.min() >= SHIFTS.start and shift.max() < SHIFTS.stop):
            raise ValueError("a shift is out of range")
        bound = _largest(weight, inputs) + bias.abs() + 2 ** (shift - 1)
        if not bound.max() < EXACT_LIMIT:
            raise ValueError(f"a sum can reach {bound.max():.0f}, beyond exact arithmetic")

    def forward(self, x: Tensor) -> Tensor:
        h = in_strips(self._evaluated, x, cell_columns=x.shape[3], halo=self._margin)
        return F.pixel_shuffle(h, self.shuffle) if self.shuffle > 1 else h

    def _evaluated(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padded = F.pad(x, 4 * (self._margin,))
        around = torch.cat([padded[:, :, a : a + height, b : b + width] for a, b in self._taps], dim=1)
        weight = torch.cat([self.weight[:, :, a, b] for a, b in self._taps], dim=1)
        acc = accumulate(self.bias, [(weight, around)])  # one for each tap takes half as long again
        h = torch.floor(acc * 2.0 ** -self.shift[:, None, None] + 0.5)
        if self.activation is Activation.LEAKY:
            below = torch.floor(h.clamp(LEAST_SEEN, 0) * (SLOPE / 2**SLOPE_BITS) + 0.5)
            h = torch.where(h < 0, below, h)
        return h.clamp(self.reach.low, self.reach.high)

    def to_tensors(self) -> dict[str, Tensor]:
        """What is stored, by name."""
        return {"weight": self.weight.short(), "bias": self.bias.int(), "shift": self.shift.to(torch.uint8)}


class IntegerChain(nn.Module):
    """Integer layers, one behind the other."""

    def __init__(self, layers: list[IntegerLayer], inputs: Reach) -> None:
        super().__init__()
        self.layers, self.inputs = nn.ModuleList(layers), inputs

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    @property
    def inputs_and_outputs(self) -> tuple[int, int]:
        """Channels."""
        first, last = self.layers[0], self.layers[-1]
        assert isinstance(first, IntegerLayer)
        assert isinstance(last, IntegerLayer)
        return first.weight.shape[1], last.outputs

    def check_exact(self) -> None:
        """Raise ValueError if float32 might not hold a sum."""
        reach = self.inputs
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, IntegerLayer)
            try:
                layer.check_exact(reach)
            except ValueError as error:
                raise ValueError(f"layer {number}: {error}") from None
            reach = layer.reach

    def to_tensors(self, name: str) -> dict[str, Tensor]:
        """What is stored, by name."""
        return {
            f"{name}.{number}.{key}": value
            for number, layer in enumerate(self.layers)
            for key, value in layer.to_tensors().items()  # type: ignore[operator]
        }


@dataclass(frozen=True)
class LayerKind:
    """What is not stored with a layer, but follows from the architecture."""

    activation: Activation = Activation.NONE
    shuffle: int = 1


def read_chain(
    tensors: dict[str, Tensor], name: str, kinds: list[LayerKind], inputs: Reach, outputs: Reach
) -> IntegerChain:
    """The inverse of `IntegerChain.to_tensors`. KeyError or ValueError for tensors that do not fit."""
    layers: list[IntegerLayer] = []
    for number, kind in enumerate(kinds):
        weight, bias, shift = (tensors[f"{name}.{number}.{key}"] for key in ("weight", "bias", "shift"))
        rows = len(weight)
        if weight.ndim != 4 or bias.shape != (rows,) or shift.shape != (rows,) or rows % kind.shuffle**2:
            raise ValueError(f"the parts of {name}.{number} do not fit each other")
        if layers and layers[-1].outputs != weight.shape[1]:
            raise ValueError(f"{name}.{number} does not fit the layer before it")
        reach = outputs if number == len(kinds) - 1 else HIDDEN[kind.activation]
        layers.append(IntegerLayer(weight, bias, shift, kind.activation, kind.shuffle, reach))
    chain = IntegerChain(layers, inputs)
    chain.check_exact()
    return chain


def make_exact(
    layer: RealLayer, input_units: Tensor, inputs: Reach, output_units: Tensor, reach: Reach
) -> IntegerLayer:
    """A layer in integers, as precise as float32 allows. ValueError if even the coarsest might leave its range.

    input_units [I], output_units [O / shuffle^2]: what an integer 1 stands for.
    """
    units = output_units.double().repeat_interleave(layer.shuffle**2)
    weight = layer.weight.double() * input_units.double()[:, None, None] / units[:, None, None, None]
    bias = layer.bias.double() / units
    chosen = torch.zeros(len(bias), dtype=torch.float64)
    for shift in SHIFTS:  # the largest one that fits
        whole, whole_bias = (weight * 2**shift).round().flatten(1), (bias * 2**shift).round()
        bound = _largest(whole, inputs) + whole_bias.abs() + 2 ** (shift - 1)
        fits = (bound < EXACT_LIMIT) & (whole.abs().amax(1) <= INTEGER_WEIGHT_MAX)
        chosen = torch.where(fits, float(shift), chosen)
    if not chosen.min() > 0:
        raise ValueError("sums can leave the range of exact arithmetic")
    scale = 2**chosen
    whole = (weight * scale[:, None, None, None]).round()
    made = IntegerLayer(whole, (bias * scale).round(), chosen, layer.activation, layer.shuffle, reach)
    made.check_exact(inputs)
    return made


def least_units(layer: RealLayer, input_units: Tensor, inputs: Reach) -> Tensor:
    """The finest units of a layer's outputs in which `make_exact` can hold it: [O / shuffle^2]."""
    weight = layer.weight.double() * input_units.double()[:, None, None]
    bound = _largest(weight.flatten(1), inputs) + layer.bias.double().abs()
    of_outputs = bound.view(-1, layer.shuffle**2).amax(1)
    return ROUNDED * 2**SHIFTS.start * of_outputs / EXACT_LIMIT


def _largest(weight: Tensor, inputs: Reach) -> Tensor:
    """The largest magnitude of any sum of products, or of a part of it, [O], for weights [O, K]."""
    above, below = weight.clamp_min(0).sum(1), weight.clamp_max(0).sum(1)
    most, least = above * inputs.high + below * inputs.low, above * inputs.low + below * inputs.high
    return torch.maximum(most, -least)
