"""Convolutions of integers: the same numbers on every machine.

Training carries integers in float32, whose values stay exact below 2^24; what a first stage multiplies under autocast
in bfloat16 is near enough to learn from. A loaded network carries them in float32 too, or carries them
in float64 where float32 is not exact, or, where that is quicker, in int32 with products of bytes: `exact_type` chooses.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.networks.strips import in_strips

WEIGHT_BITS = 9  # a weight w is stored as round(w * 2^9)
WEIGHT_MAX = 2**13 - 1  # of a stored weight: its upper byte is at most 64
ACTIVATION_BITS = 4  # an activation a is carried as round(a * 2^4), 0..255
ACTIVATION_MAX = 255
LEAK = 0.05  # of the gradient, where an activation clamps in training
EXACT_LIMIT = 2**24 - 2**12  # float32 is exact below 2^24; the rest is room for what rounding adds
ANCHORS = 8  # levels, evenly spaced, at which what depends on the level is learned
PROBED = 128  # channels and places: as many as kernels for large products are used for
PROBE = 2**16 + 2**8 + 1  # 17 bits: more than TF32 has, or two bfloat16; times an activation it stays below 2^24


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class _Clamp(torch.autograd.Function):
    """Beyond the limits gradients pass times `leak`, or whole if they lead back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, leak: float | None) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limits, ctx.leak = (low, high), leak
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (low, high), gradient = ctx.saved_tensors, ctx.limits, gradients[0]
        if ctx.leak is None:
            passes = torch.where(gradient < 0, x <= high, x >= low)
            return gradient * passes, None, None, None
        inside = (x >= low) & (x <= high)
        return torch.where(inside, gradient, ctx.leak * gradient), None, None, None


def round_through(x: Tensor) -> Tensor:
    """Round half up; the gradient passes as if nothing had been done."""
    rounded: Tensor = _Round.apply(x)
    return rounded


def clamp_back(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp; beyond the limits a gradient passes if a step along it leads back."""
    clamped: Tensor = _Clamp.apply(x, low, high, None)
    return clamped


def rounding_shift(x: Tensor, bits: int) -> Tensor:
    """Integers x / 2^bits, rounded half up; the gradient passes as if nothing had been rounded. bits: at least 1."""
    if x.dtype == torch.int32:
        return (x + (1 << (bits - 1))) >> bits
    return round_through(x * 2.0**-bits)


def saturate(x: Tensor, leak: float) -> Tensor:
    """ReLU and saturation: integers 0..255. Where it clamps, `leak` of the gradient passes: in training some must, or
    a unit that is shut everywhere would never open again.
    """
    return x.clamp(0, ACTIVATION_MAX) if leak == 0 else _Clamp.apply(x, 0.0, float(ACTIVATION_MAX), leak)  # type: ignore[no-any-return]


def activate(accumulator: Tensor, shift: int, leak: float = 0.0) -> Tensor:
    """A rounding shift, ReLU and saturation: integers 0..255."""
    return saturate(rounding_shift(accumulator, shift), leak)


class IntegerConv2d(nn.Module):
    """Stride-1 convolution with integer weights over integer inputs; zero padding keeps the size.

    Parameters are real numbers in training; `weight * 2^9` is rounded on every use. In evaluation it is a sum of
    products, one for each place of the kernel.

    Args:
        input_bits: fractional bits of the input integers: 0 of symbols, -127..127, and 4 of activations, 0..255.
        levels: quality levels that have a bias of their own; 0: none has.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, input_bits: int, levels: int = 0) -> None:
        super().__init__()
        self.kernel, self.accumulator_bits, self.levels = kernel, WEIGHT_BITS + input_bits, levels
        self.least = 128 if input_bits else 0  # what is subtracted from inputs to make them signed bytes
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        # At anchor levels; a loaded layer has one row for each level, which is the same to `interpolated`.
        self.level_bias = nn.Parameter(torch.zeros(ANCHORS, outputs)) if levels else None
        self._byte_products: dict[Hashable, ByteProducts] = {}
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def integer_weight(self) -> Tensor:
        return round_through(self.weight * 2**WEIGHT_BITS)

    def integer_bias(self) -> Tensor:
        return round_through(self.bias * 2**self.accumulator_bits)

    def integer_level_bias(self, level: Tensor) -> Tensor:
        """Levels [B] -> [B, outputs, 1, 1]."""
        assert self.level_bias is not None
        return round_through(interpolated(self.level_bias, level, self.levels) * 2**self.accumulator_bits)

    @torch.no_grad()
    def start_from(self, loaded: IntegerConv2d) -> None:
        """Go on from a layer of an exported model."""
        self.weight.copy_(loaded.weight)
        self.bias.copy_(loaded.bias)
        if self.level_bias is not None:
            assert loaded.level_bias is not None
            self.level_bias.copy_(loaded.level_bias[anchor_levels(self.levels)])

    def accumulator_bound(self, largest_input: int) -> float:
        """The largest magnitude that any output, or a part of its sum, can reach; must stay below EXACT_LIMIT."""
        weight = self.integer_weight().detach().double().flatten(1)
        below, above = weight.clamp_max(0).abs().sum(1), weight.clamp_min(0).sum(1)
        rows = below.maximum(above) if self.least else below + above  # activations have no sign
        biases = self.integer_bias().detach().double().abs()
        if self.level_bias is not None:
            levels = torch.arange(self.levels, device=weight.device)
            biases = biases + self.integer_level_bias(levels).detach().double().abs().amax(0)[:, 0, 0]
        return float((rows * largest_input + biases).max())

    def forward(self, x: Tensor, rows: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        """[B, inputs, h, w] integers -> accumulators [B, outputs, h, w], `accumulator_bits` fractional bits.

        rows: numbers of the outputs that are wanted, in evaluation; all without. level: [B], which layers without
        levels ignore.
        """
        if self.training:
            acc = F.conv2d(x, self.integer_weight(), self.integer_bias(), padding=self.kernel // 2).float()
        else:
            acc = in_strips(lambda part: self._evaluated(part, rows), x, cell_columns=x.shape[3], halo=self.kernel // 2)
        if level is None or self.level_bias is None:
            return acc
        return acc + self.integer_level_bias(level).to(acc.dtype)

    def _evaluated(self, x: Tensor, rows: Tensor | None) -> Tensor:
        height, width, margin = *x.shape[-2:], self.kernel // 2
        whole = x.dtype == torch.int32
        padded = F.pad(as_bytes(x, self.least) if whole else x, 4 * (margin,), value=-self.least if whole else 0)
        chosen = slice(None) if rows is None else rows
        around = [
            ((chosen, slice(None), a, b), padded[:, :, a : a + height, b : b + width])
            for a, b in itertools.product(range(self.kernel), repeat=2)
        ]
        return self.sum_of_products(None if rows is None else tuple(rows.tolist()), around, chosen)

    def sum_of_products(
        self, name: Hashable, around: list[tuple[Any, Tensor]], rows: Tensor | slice = slice(None)
    ) -> Tensor:
        """The layer's accumulators from planes of inputs [B, I, h, w], each with the part of the weight that it meets.

        name: of this choice of parts. Planes of bytes meet weights that were prepared for the name on the first call,
        and must not have changed since. rows: the outputs that the parts are of.
        """
        if around[0][1].dtype != torch.int8:
            weight = self.integer_weight()
            return accumulate(self.integer_bias()[rows], [(weight[part], plane) for part, plane in around])
        if name not in self._byte_products:
            weight = self.integer_weight()
            matrix = torch.cat([weight[part] for part, _ in around], dim=1)
            self._byte_products[name] = ByteProducts(matrix, self.integer_bias()[rows], self.least)
        return self._byte_products[name]([plane for _, plane in around])


def anchor_levels(levels: int) -> Tensor:
    """The levels at which something is learned that `interpolated` gives for all: 0, 9, 18 ... 63 of 64."""
    return torch.linspace(0, levels - 1, ANCHORS).round().long()


def interpolated(anchors: Tensor, level: Tensor, levels: int) -> Tensor:
    """[A, C], evenly spaced over the levels, at levels [B] -> [B, C, 1, 1]."""
    position = level.to(anchors.dtype) * (len(anchors) - 1) / (levels - 1)
    low = position.floor().clamp(0, len(anchors) - 2)
    share = (position - low)[:, None]
    rows = anchors[low.long()] * (1 - share) + anchors[low.long() + 1] * share
    return rows[:, :, None, None]


def accumulate(bias: Tensor, terms: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """bias [O], and pairs of weights [O, I] and planes [B, I, h, w] -> bias + the sum of products, [B, O, h, w].

    Plain matrix products: no kernel library may choose a fast algorithm (Winograd, FFT) that works with fractions.
    """
    acc = bias[:, None]
    for weight, x in terms:
        size = x.shape[-2:]
        acc = torch.baddbmm(acc, weight.expand(len(x), -1, -1), x.flatten(2))
    return acc.unflatten(2, size)


class ByteProducts:
    """`accumulate` for inputs that are bytes, more than twice as quick as with float32 on processors made for that.

    A weight is 128 * high + low, low in -64..63, high in -64..64. Processors of before VNNI add two products in 16 bits
    first: 2 * 255 * 64 still fits.

    Args:
        weight: integers [O, K]; K runs over all planes of a call. bias: integers [O]. least: what had been subtracted
            from the inputs.
    """

    def __init__(self, weight: Tensor, bias: Tensor, least: int) -> None:
        whole = weight.detach().long()
        low = (whole + 64).remainder(128) - 64
        # torch 2.14 gives arbitrary numbers for sums of a single product: such a sum gets a second one, of zeros.
        self.missing = int(whole.shape[1] == 1)
        self.halves = F.pad(torch.cat([(whole - low) // 128, low]).to(torch.int8), (0, self.missing)).t()
        self.bias = (bias.detach().long() + least * whole.sum(1)).to(torch.int32)

    def __call__(self, planes: list[Tensor]) -> Tensor:
        """int8 [B, I, h, w] each -> int32 [B, O, h, w]."""
        x = torch.cat([plane.permute(0, 2, 3, 1) for plane in planes], dim=3)
        rows = F.pad(x.flatten(0, 2), (0, self.missing)) if self.missing else x.flatten(0, 2)
        high, low = torch._int_mm(rows, self.halves).chunk(2, dim=1)
        return torch.add(self.bias, low).add_(high, alpha=128).unflatten(0, x.shape[:3]).permute(0, 3, 1, 2)


def as_bytes(x: Tensor, least: int = 0) -> Tensor:
    """Integers [B, C, h, w] -> int8, `least` subtracted; the channels come last in memory."""
    return (x - least if least else x).to(torch.int8, memory_format=torch.channels_last)


def exact_type(device: str | torch.device) -> torch.dtype:
    """The quickest type that carries integers exactly: int32 on processors that multiply bytes quickly, float32, or
    float64 where this process lets less precise products take float32's place (bfloat16, TF32, autocast).

    To be asked for each picture: the switches are the host's, and a wrong symbol costs it the rest of the file.
    """
    numbers, x = _probes(device)
    if torch.device(device).type == "cpu" and multiplies_bytes_quickly():
        largest = numbers.new_tensor([-WEIGHT_MAX, WEIGHT_MAX]).repeat(PROBED, PROBED // 2)
        extreme = x.clone()
        extreme[:, ::2], extreme[:, 1::4] = ACTIVATION_MAX, 0.0
        found = ByteProducts(largest, numbers, 128)([as_bytes(extreme, 128)])
        if torch.equal(found.double(), accumulate(numbers, [(largest, extreme)])):
            return torch.int32
    return exact_float(device)


def exact_float(device: str | torch.device) -> torch.dtype:
    """The quicker of float32 and float64 that carries integers exactly: see `exact_type`."""
    numbers, x = _probes(device)
    one = torch.eye(PROBED, device=device, dtype=torch.float64)
    weight = PROBE * one - (PROBE - 1) * one.roll(1, 0)
    quick = accumulate(numbers.float(), [(weight.float(), x.float())])
    return torch.float32 if torch.equal(quick.double(), accumulate(numbers, [(weight, x)])) else torch.float64


def _probes(device: str | torch.device) -> tuple[Tensor, Tensor]:
    """Biases [PROBED] and activations [1, PROBED, PROBED, 1] to try products with."""
    numbers = torch.arange(PROBED, device=device, dtype=torch.float64)
    x = (numbers[:, None] * 89 + numbers * 55).remainder(ACTIVATION_MAX + 1)[None, :, :, None]
    return numbers, x


def multiplies_bytes_quickly() -> bool:
    """Whether torch has a kernel for products of bytes here that beats those of float32."""
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(torch, "_int_mm")
    )


def require_exact(name: str, layers: list[IntegerConv2d], largest_input: int) -> None:
    """Raise ValueError if an accumulator could leave the range in which float32 is exact, or a weight its two bytes.

    largest_input: of the first layer; the others' inputs are activations or indexes, 0..255.
    """
    for number, layer in enumerate(layers):
        bound = layer.accumulator_bound(ACTIVATION_MAX if number else largest_input)
        if not bound < EXACT_LIMIT:
            raise ValueError(f"layer {number} of {name} can reach {bound:.0f}, beyond exact arithmetic")
        if layer.integer_weight().abs().max() > WEIGHT_MAX:
            raise ValueError(f"layer {number} of {name} has a weight beyond {WEIGHT_MAX / 2**WEIGHT_BITS}")
