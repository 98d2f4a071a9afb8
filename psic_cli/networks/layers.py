"""Building blocks of the transforms: residual blocks with slots for biases, and filters."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Biases = Iterator[Tensor]
LEAK = 0.1  # slope of a leaky unit below zero


class Activation(nn.Module):
    """What comes between two convolutions, in place where gradients allow it.

    A unit of "relu" that is shut everywhere gets no gradient and stays shut; "leaky" and "silu" have none such.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "relu":
            return F.relu_(x)
        return F.leaky_relu_(x, LEAK) if self.kind == "leaky" else F.silu(x)


def convolve(convolution: nn.Conv2d, x: Tensor, bias: Tensor) -> Tensor:
    """A convolution and a further bias [B, width, 1, 1]. For one picture it is folded into the convolution's own: it is
    free.
    """
    if len(bias) > 1:
        h: Tensor = convolution(x)
        return h.add_(bias)
    assert convolution.bias is not None
    folded = convolution.bias + bias[0, :, 0, 0]
    return F.conv2d(x, convolution.weight, folded, padding=convolution.padding, groups=convolution.groups)  # type: ignore[arg-type]


def precisely(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution in float32, also under autocast: what comes out here is coded, or seen."""
    with torch.autocast(x.device.type, enabled=False):
        return convolution(x.float())  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """Residual bottleneck: dense small convolutions, which CPUs are quickest with.

        x -> 1x1, act -> 3x3 (+ bias 1), act -> 1x1 (+ bias 2) -> + x          [B, width, H, W] -> the same

    The biases are cltg.py's. The last convolution starts at zero, so that a stack of blocks starts as the identity.

    x stays float32, also under autocast: rounded in every block to bfloat16, whose 8 bits are coarser than a level of
    the picture, it would lose 0.1 dB. For the branches, which are corrections, bfloat16 is good enough.
    """

    def __init__(self, width: int, activation: str = "relu") -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, width // 2, 1)
        self.mix = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.expand = _start_at_zero(nn.Conv2d(width // 2, width, 1))
        self.before, self.after = Activation(activation), Activation(activation)

    def slots(self) -> list[int]:
        """Widths of the two biases."""
        return [self.mix.out_channels, self.expand.out_channels]

    def forward(self, x: Tensor, biases: Biases) -> Tensor:
        h = convolve(self.mix, self.before(self.reduce(x)), next(biases))
        return x + convolve(self.expand, self.after(h), next(biases))


class Depthwise(nn.Module):
    """Residual block whose only view is a filter for each channel ("A ConvNet for the 2020s", Liu et al., CVPR 2022),
    without its normalisation.

        x -> depthwise 3x3 (+ bias 1) -> 1x1 to twice the width, act -> 1x1 (+ bias 2) -> + x
    """

    def __init__(self, width: int, activation: str = "relu") -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.expand = _start_at_zero(nn.Conv2d(2 * width, width, 1))
        self.after = Activation(activation)

    def slots(self) -> list[int]:
        """Widths of the two biases."""
        return [self.mix.out_channels, self.expand.out_channels]

    def forward(self, x: Tensor, biases: Biases) -> Tensor:
        h = convolve(self.mix, x, next(biases))
        return x + convolve(self.expand, self.after(self.widen(h)), next(biases))


class Gated(nn.Module):
    """Residual block of a gated linear unit (Dauphin et al., ICML 2017): one half of the channels says how much of the
    other passes. It has no activation that could shut a unit.

        x -> 1x1 -> depthwise 3x3 (+ bias 1) -> value * sigmoid(gate), half the width -> 1x1 (+ bias 2) -> + x
    """

    def __init__(self, width: int, activation: str = "relu") -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, width, 1)
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.expand = _start_at_zero(nn.Conv2d(width // 2, width, 1))

    def slots(self) -> list[int]:
        """Widths of the two biases."""
        return [self.mix.out_channels, self.expand.out_channels]

    def forward(self, x: Tensor, biases: Biases) -> Tensor:
        h = convolve(self.mix, self.reduce(x), next(biases))
        return x + convolve(self.expand, F.glu(h, dim=1), next(biases))


BLOCKS: dict[str, type[Bottleneck] | type[Depthwise] | type[Gated]] = {
    "bottleneck": Bottleneck,
    "depthwise": Depthwise,
    "gated": Gated,
}


def _start_at_zero(convolution: nn.Conv2d) -> nn.Conv2d:
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    return convolution


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of [B, C, H, W] until both sides are multiples of `multiple`."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """[B, C, H, W] after the same filter along rows and columns; edges are repeated. kernel: [K], K odd."""
    reach, channels = len(kernel) // 2, x.shape[1]
    weights = kernel.repeat(channels, 1, 1, 1)  # [C, 1, 1, K]
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), weights, groups=channels)
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), weights.transpose(2, 3), groups=channels)


def karhunen_loeve_basis(size: int, count: int) -> Tensor:
    """The best linear transform of colour patches under a first-order Markov model: [count, 3 * size * size]
    orthonormal rows.

    Rows run over (colour, y, x) and are sorted by falling variance. Starting the transforms here saves the part of
    training that would only rediscover it: the untrained codec is already a block transform codec.
    """
    colour = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [0.5, -1.0, 0.5]], dtype=torch.float64)
    colour = colour / colour.norm(dim=1, keepdim=True)
    colour_variance = torch.tensor(
        [1.0, 0.06, 0.02], dtype=torch.float64
    )  # luma, and two opponent colours, of photographs
    steps = torch.arange(size, dtype=torch.float64)
    variance, vectors = torch.linalg.eigh(0.95 ** (steps[:, None] - steps[None, :]).abs())
    variance_all = torch.einsum("c,u,v->cuv", colour_variance, variance, variance)
    order = variance_all.flatten().argsort(descending=True)[:count]
    basis = torch.einsum("ck,yu,xv->cuvkyx", colour, vectors, vectors).reshape(3 * size * size, -1)
    return basis[order].float()
