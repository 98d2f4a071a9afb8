"""Building blocks of the transforms: bottlenecks with slots for biases, and filters."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Biases = Iterator[Tensor]


def convolve(convolution: nn.Conv2d, x: Tensor, bias: Tensor) -> Tensor:
    """A convolution and a further bias [B, width, 1, 1]. For one picture it is folded into the convolution's own: it is
    free.
    """
    if len(bias) > 1:
        h: Tensor = convolution(x)
        return h + bias.to(h.dtype)
    assert convolution.bias is not None
    folded = convolution.bias + bias[0, :, 0, 0]
    return F.conv2d(x, convolution.weight, folded, padding=convolution.padding)  # type: ignore[arg-type]


def precisely(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution in float32, also under autocast: what comes out here is coded, or seen."""
    with torch.autocast(x.device.type, enabled=False):
        return convolution(x.float())  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """Residual bottleneck; on CPUs dense small convolutions with ReLU are the quickest block per unit of quality.

        x -> 1x1, ReLU -> 3x3 (+ bias 1), ReLU -> 1x1 (+ bias 2) -> + x          [B, width, H, W] -> the same

    The biases are cltg.py's. The last convolution starts at zero, so that a stack of blocks starts as the identity.

    x stays float32, also under autocast: rounded in every block to bfloat16, whose 8 bits are coarser than a level of
    the picture, it would lose 0.1 dB. For the branches, which are corrections, bfloat16 is good enough.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, width // 2, 1)
        self.mix = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.expand = nn.Conv2d(width // 2, width, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # type: ignore[arg-type]

    def slots(self) -> list[int]:
        """Widths of the two biases."""
        return [self.mix.out_channels, self.expand.out_channels]

    def forward(self, x: Tensor, biases: Biases) -> Tensor:
        h = convolve(self.mix, F.relu(self.reduce(x)), next(biases))
        return x + convolve(self.expand, F.relu(h), next(biases))


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
