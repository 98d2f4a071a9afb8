"""EfficientNet-Lite, the picture tower of the witnesses, in plain torch: frozen, and quick on CPUs in both directions.

The network of Tan and Le (ICML 2019, arXiv:1905.11946) with ReLU6 and without squeeze-and-excitation, as
github.com/tensorflow/tpu has it. Weights are read under timm's names; batch norms are folded into the convolutions
before them, so that layers have biases and there are no norms. Gradients are those of a blurred ReLU6.

    picture -> 3x3, stride 2 -> seven stages of inverted residuals, stride 2 to 32 -> 1x1 to 1280 channels
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEM, HEAD = 32, 1280  # channels, of every size
# Kernel, stride, expansion, channels and blocks of each stage of Lite0.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
SIZES = [(1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8)]  # of Lite0 to 4: times channels, times blocks
BLUR = 1.25  # of ReLU6's gradient
_NAME = re.compile(r"(tf_)?efficientnet_lite([0-4])")
_TENSORFLOW_EPSILON, _TORCH_EPSILON = 1e-3, 1e-5  # of batch norms


class _ReLU6(torch.autograd.Function):
    """ReLU6 in place, with the gradient of one that is blurred by `BLUR` either way.

    Where a unit is just off, another model has a similar one that is just on: what is found along the blurred gradient
    carries over better to models that took no part (the idea of linear backpropagation, Guo et al., NeurIPS 2020).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if ctx.needs_input_grad[0]:
            # the share of x - BLUR..x + BLUR where ReLU6 rises: from 0 to 1 around 0, back to 0 around 6
            inwards = (x - 3).abs_().neg_().add_(3)
            ctx.save_for_backward(F.hardsigmoid(inwards.mul_(3 / BLUR), inplace=True))
        y = x.clamp_(0, 6)
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (slope,) = ctx.saved_tensors
        return gradient * slope


class _Convolution(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Nothing is drawn: all weights are read."""


class Pointwise(_Convolution):
    """A 1x1 convolution, and ReLU6 behind it if `active`. As the matrix product that it is: torch leaves convolutions
    of few pictures on one thread to a kernel that first copies them.
    """

    def __init__(self, inputs: int, outputs: int, active: bool) -> None:
        super().__init__(inputs, outputs, 1)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        places = x.permute(0, 2, 3, 1)
        y = F.linear(places.flatten(0, 2), self.weight.flatten(1), self.bias)
        y = _ReLU6.apply(y) if self.active else y  # while it is no view: one would be copied first
        return y.unflatten(0, places.shape[:3]).permute(0, 3, 1, 2)


class Spatial(_Convolution):
    """A wider convolution, and ReLU6: [B, C, H, W] -> [B, D, ceil(H / stride), ceil(W / stride)].

    tensorflow: zeros are put around pictures as TensorFlow's SAME does. Stride 2 then keeps the odd places of an even
    side, where torch keeps the even ones; a kernel with zeros in front does the same without a copy of the input.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, tensorflow: bool) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        self.keeps_odd = tensorflow and stride == 2

    def forward(self, x: Tensor) -> Tensor:
        top, left = (int(self.keeps_odd and side % 2 == 0) for side in x.shape[-2:])
        if self.stride != (1, 1) and self.groups > 1 and x.requires_grad and torch.is_autocast_enabled("cpu"):
            # oneDNN has no quick gradient of strided depthwise convolutions in bfloat16, but one of plain ones.
            y = F.conv2d(x, self.weight, self.bias, padding=self.padding, groups=self.groups)
            return _ReLU6.apply(y[..., top::2, left::2].contiguous(memory_format=torch.channels_last))
        weight = F.pad(self.weight, (left, 0, top, 0)) if top or left else self.weight
        return _ReLU6.apply(F.conv2d(x, weight, self.bias, self.stride, self.padding, groups=self.groups))


class Block(nn.Sequential):
    """An inverted residual: 1x1 if it expands, depthwise, 1x1; + x where sizes allow it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, tensorflow: bool) -> None:
        hidden = inputs * expansion
        depthwise = Spatial(hidden, hidden, kernel, stride, hidden, tensorflow)
        project = Pointwise(hidden, outputs, active=False)
        if expansion == 1:
            layers = {"conv_dw": depthwise, "conv_pw": project}
        else:
            layers = {"conv_pw": Pointwise(inputs, hidden, active=True), "conv_dw": depthwise, "conv_pwl": project}
        super().__init__(OrderedDict[str, nn.Module](layers))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return x + y if self.is_residual else y


class EfficientNetLite(nn.Module):
    """The tower: normalised pictures [B, 3, H, W] -> [B, 1280, ceil(H / 32), ceil(W / 32)].

    Args:
        name: timm's: `tf_efficientnet_lite0` to 4, whose weights want TensorFlow's padding and the epsilon of its batch
            norms, or `efficientnet_lite0` to 4. ValueError for others.
        weights: tensors under timm's names, those of a head left out. KeyError if one is missing, RuntimeError or
            ValueError if one has another shape or is of another network.
    """

    MAPS = len(STAGES) + 1  # how many `maps` gives

    def __init__(self, name: str, weights: dict[str, Tensor]) -> None:
        super().__init__()
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"{name} is no EfficientNet-Lite")
        tensorflow, (wider, deeper) = bool(found[1]), SIZES[int(found[2])]
        self.conv_stem = Spatial(3, STEM, 3, 2, 1, tensorflow)
        self.blocks, inputs = nn.Sequential(), STEM
        for i, (kernel, stride, expansion, channels, blocks) in enumerate(STAGES):
            outputs, stage = _rounded(channels * wider), nn.Sequential()
            for j in range(math.ceil(blocks * deeper) if 0 < i < len(STAGES) - 1 else blocks):
                stage.append(Block(inputs, outputs, kernel, 1 if j else stride, expansion, tensorflow))
                inputs = outputs
            self.blocks.append(stage)
        self.conv_head = Pointwise(inputs, HEAD, active=True)
        self.load_state_dict(self._folded(weights, _TENSORFLOW_EPSILON if tensorflow else _TORCH_EPSILON))
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        *_, last = self.maps(x)
        return last

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """What each stage gives, then the head; nothing is computed before it is asked for.

        Strides of Lite0's: 2, 4, 8, 16, 16, 32, 32, 32; channels: 16, 24, 40, 80, 112, 192, 320, 1280.
        """
        x = self.conv_stem(x.contiguous(memory_format=torch.channels_last))
        for stage in self.blocks:
            x = stage(x)
            yield x
        yield self.conv_head(x)

    def _folded(self, weights: dict[str, Tensor], epsilon: float) -> dict[str, Tensor]:
        """Weights and biases of the layers: the convolutions of timm's tensors with the norms behind them."""
        layers = [("conv_stem", "bn1"), ("conv_head", "bn2")]
        for place, block in self.named_modules():
            if isinstance(block, Block):
                layers += [
                    (f"{place}.{name}", f"{place}.bn{i}") for i, (name, _) in enumerate(block.named_children(), 1)
                ]
        folded = {}
        for layer, norm in layers:
            scale, bias, mean, variance = (weights[f"{norm}.{part}"] for part in _NORM)
            scale = scale * torch.rsqrt(variance + epsilon)
            folded[f"{layer}.weight"] = weights[f"{layer}.weight"] * scale.reshape(-1, 1, 1, 1)
            folded[f"{layer}.bias"] = bias - mean * scale
        if len(weights) != len(layers) * (1 + len(_NORM)):
            raise ValueError("tensors of another network")
        return folded


_NORM = ("weight", "bias", "running_mean", "running_var")


def _rounded(channels: float) -> int:
    """To a multiple of 8, never less than nine tenths of the number."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
