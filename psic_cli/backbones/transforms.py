"""The analyses and syntheses of CompressAI's networks, in plain torch: the same modules under the same names, so that
their weights fit as they are, but for those of GDN, which come here as what they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.networks.strips import Finish, Rows, as_it_is, in_strips


class Gdn(nn.Module):
    """Generalised divisive normalisation (Balle et al., 2016): x / sqrt(beta + gamma x^2), or times it if inverse.

    beta: [C]; gamma: [C, C], outputs first; neither is negative.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(0.1 * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        norm = F.conv2d(x.square(), self.gamma[:, :, None, None], self.beta)
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())


def down(inputs: int, outputs: int, kernel: int = 5) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2)


def up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1)


def same(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def shuffled(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 and a shuffle: twice the side."""
    return nn.Sequential(same(inputs, 4 * outputs), nn.PixelShuffle(2))


class ResidualBlock(nn.Module):
    """x -> 3x3, LeakyReLU -> 3x3, LeakyReLU -> + x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = same(width, width), same(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x))))


class ResidualDown(nn.Module):
    """x -> 3x3 stride 2, LeakyReLU -> 3x3, GDN -> + 1x1 stride 2 of x."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = down(inputs, outputs, 3), same(outputs, outputs)
        self.gdn, self.skip = Gdn(outputs), down(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.gdn(self.conv2(F.leaky_relu(self.conv1(x))))
        return h + self.skip(x)


class ResidualUp(nn.Module):
    """x -> 3x3, shuffle, LeakyReLU -> 3x3, inverse GDN -> + 3x3, shuffle of x."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.subpel_conv, self.conv = shuffled(inputs, outputs), same(outputs, outputs)
        self.igdn, self.upsample = Gdn(outputs, inverse=True), shuffled(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.igdn(self.conv(F.leaky_relu(self.subpel_conv(x))))
        return h + self.upsample(x)


class ElicBottleneck(nn.Module):
    """x -> 1x1 to half the width, ReLU -> 3x3, ReLU -> 1x1 -> + x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1, self.conv2, self.conv3 = same(width, half, 1), same(half, half), same(half, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return x + h


class ResidualUnit(nn.Module):
    """The same, with a last ReLU over the sum: of `Attention`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        layers = (same(width, half, 1), nn.ReLU(), same(half, half), nn.ReLU(), same(half, width, 1))
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv(x))


class Attention(nn.Module):
    """x + a(x) * sigmoid(b(x)), a and b of three units each (Cheng et al., CVPR 2020, simplified)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(ResidualUnit(width) for _ in range(3)))
        self.conv_b = nn.Sequential(*(ResidualUnit(width) for _ in range(3)), same(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_a(x) * torch.sigmoid(self.conv_b(x))


def balle_analysis(width: int, latents: int) -> nn.Sequential:
    """g_a of Balle et al. (2018): [B, 3, H, W] -> [B, latents, H/16, W/16]."""
    w = width
    return nn.Sequential(down(3, w), Gdn(w), down(w, w), Gdn(w), down(w, w), Gdn(w), down(w, latents))


def balle_synthesis(width: int, latents: int) -> nn.Sequential:
    """Its g_s."""
    w = width
    gdn = [Gdn(w, inverse=True) for _ in range(3)]
    return nn.Sequential(up(latents, w), gdn[0], up(w, w), gdn[1], up(w, w), gdn[2], up(w, 3))


def cheng_analysis(width: int) -> nn.Sequential:
    """g_a of Cheng et al. (CVPR 2020), without attention: [B, 3, H, W] -> [B, width, H/16, W/16]."""
    w = width
    blocks = [ResidualDown(3, w), ResidualBlock(w), ResidualDown(w, w), ResidualBlock(w), ResidualDown(w, w)]
    return nn.Sequential(*blocks, ResidualBlock(w), down(w, w, 3))


def cheng_synthesis(width: int) -> nn.Sequential:
    """Its g_s."""
    w = width
    blocks = [ResidualBlock(w), ResidualUp(w, w), ResidualBlock(w), ResidualUp(w, w), ResidualBlock(w)]
    return nn.Sequential(*blocks, ResidualUp(w, w), ResidualBlock(w), shuffled(w, 3))


def _bottlenecks(width: int) -> list[nn.Module]:
    return [ElicBottleneck(width) for _ in range(3)]


def elic_analysis(width: int, latents: int) -> nn.Sequential:
    """g_a of He et al. (CVPR 2022): [B, 3, H, W] -> [B, latents, H/16, W/16]."""
    w = width
    half, quarter = [down(3, w), *_bottlenecks(w)], [down(w, w), *_bottlenecks(w), Attention(w)]
    return nn.Sequential(*half, *quarter, down(w, w), *_bottlenecks(w), down(w, latents), Attention(latents))


def elic_synthesis(width: int, latents: int) -> nn.Sequential:
    """Its g_s."""
    w = width
    eighth, quarter = [up(latents, w), *_bottlenecks(w)], [up(w, w), Attention(w), *_bottlenecks(w)]
    return nn.Sequential(Attention(latents), *eighth, *quarter, up(w, w), *_bottlenecks(w), up(w, 3))


def balle_hyper_analysis(latents: int, width: int, leaky: bool) -> nn.Sequential:
    """h_a of Balle et al. (2018) and He et al. (2022), or with LeakyReLU of Minnen et al. (2018): y -> z."""
    act = nn.LeakyReLU if leaky else nn.ReLU
    return nn.Sequential(same(latents, width), act(), down(width, width), act(), down(width, width))


def cheng_hyper_analysis(width: int) -> nn.Sequential:
    """h_a of Cheng et al. (2020)."""
    w, act = width, nn.LeakyReLU
    return nn.Sequential(
        *(same(w, w), act(), same(w, w), act(), down(w, w, 3), act(), same(w, w), act(), down(w, w, 3))
    )


class Transform(nn.Module):
    """A g_a or g_s, in strips and in float32: bfloat16 would cost GDN a tenth of a dB.

    row_unit: rows of its input per latent. view: how many latents beyond its own a result depends on, at most.
    """

    def __init__(self, layers: nn.Sequential, row_unit: int, view: int) -> None:
        super().__init__()
        self.layers, self.row_unit, self.view = layers, row_unit, view

    def forward(self, x: Rows, finish: Finish = as_it_is, biases: Sequence[Tensor] = ()) -> Tensor:
        """biases: what is added behind each layer but the last, [B, width, 1, 1] each; or none."""
        unit, columns = self.row_unit, x.shape[3] // self.row_unit

        def computed(x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, enabled=False):
                h = x.float()
                for layer, bias in zip_longest(self.layers, biases):
                    h = layer(h) if bias is None else layer(h) + bias
                return h

        return in_strips(computed, x, row_unit=unit, cell_columns=columns, halo=self.view, finish=finish)
