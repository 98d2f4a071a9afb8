"""Networks of other papers as contenders: CompressAI's, and one of the size of the PSIC release.

They are untrained: transforms take the time they take whatever their weights are. Entropy coders do not: untrained
networks give latents that are all zero, or noise. So every transform runs in full, but what the coder is given are
*stand-in latents*: Gaussians whose scales fall over the channels, as those of trained networks do, drawn so that they
take as many bits as psic's file of the same picture. The decoder reads the same bits, and its synthesis runs on them.
"""

from __future__ import annotations

import math
import struct
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from psic_cli.benchmark.cost import PROBE_SIDE
from psic_cli.networks.layers import pad_to_multiple
from psic_cli.picture import Pixels

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from compressai import models
    from compressai.layers import ResidualBlock
    from compressai.models.utils import deconv

MULTIPLE = 64  # pixels: what all of them pad to
STRIDE = 16  # pixels per latent, in all of them
SCALE_RANGE = 1000.0  # of the stand-in latents, from the first channel to the last
RELEASE_BLOCKS = (7, 6, 1)  # at 1/8, 1/4 and 1/2 of the resolution


class ReleaseSizeNetwork(models.ScaleHyperprior):  # type: ignore[misc]
    """A stand-in for the network of the PSIC release, by its published size alone: a bmshj2018 hyperprior (N 192, M
    320) whose decoder is residual and takes 565 kMAC/px and 12.8 M parameters (569 and 12.7 here).

    Which blocks the release has, and where, is not known to us; these are plain ones (two 3x3 convolutions), and the
    time of another mixture of the same cost may differ.
    """

    def __init__(self) -> None:
        super().__init__(192, 320)
        width = self.N
        layers: list[nn.Module] = []
        for inputs, blocks in zip((self.M, width, width), RELEASE_BLOCKS, strict=True):
            layers += [deconv(inputs, width), *(ResidualBlock(width, width) for _ in range(blocks))]
        self.g_s = nn.Sequential(*layers, deconv(width, 3))


# Widths of the lower rates (qualities 1 to 4 or 5 of CompressAI's zoo, 1 to 3 for cheng2020), the faster ones.
_MAKERS: dict[str, Any] = {
    "bmshj2018-hyperprior": lambda: models.ScaleHyperprior(128, 192),
    "mbt2018-mean": lambda: models.MeanScaleHyperprior(128, 192),
    "cheng2020-anchor": lambda: models.Cheng2020Anchor(128),
    "psic-release-size": ReleaseSizeNetwork,
}


class Computed(nn.Module):
    """A transform that runs in full, in the precision asked for, and then gives `stand_in` if one is set."""

    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        self.precision = torch.float32
        self.stand_in: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32):
            result: Tensor = self.transform(x).float()
        return result if self.stand_in is None else self.stand_in


class NetworkCodec:
    """One of the networks, coding to real bytes. `prepare` must be told what picture comes.

    precisions: those that it may compute its transforms in; it takes the faster.
    """

    def __init__(self, name: str, precisions: Sequence[torch.dtype] = (torch.float32,)) -> None:
        self.name = name
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.network = _MAKERS[name]().eval().requires_grad_(False)
            self.network.update()
        for part in ("g_a", "g_s", "h_a", "h_s"):
            setattr(self.network, part, Computed(getattr(self.network, part)))
        self.network.to(memory_format=torch.channels_last)
        self.is_autoregressive = hasattr(self.network, "entropy_parameters")
        if self.is_autoregressive:
            self.network.entropy_parameters = Computed(self.network.entropy_parameters)
        self.precision = precisions[0]
        self._use(self.precision)
        if len(precisions) > 1:
            self._use(min(precisions, key=self._seconds))

    @property
    def setting(self) -> str:
        return str(self.precision).removeprefix("torch.")

    def prepare(self, height: int, width: int, bits: int) -> None:
        """Draw stand-in latents for pictures of that size, of about `bits` bits."""
        rows, columns = (-(-side // MULTIPLE) * MULTIPLE // STRIDE for side in (height, width))
        scales = falling_scales(self.network.M, bits / (rows * columns))[None, :, None, None]
        generator = torch.Generator().manual_seed(0)
        y = torch.randn(1, self.network.M, rows, columns, generator=generator) * scales
        self.network.g_a.stand_in = y
        with_means = isinstance(self.network, models.MeanScaleHyperprior)
        told = torch.cat([scales, torch.zeros_like(scales)], dim=1) if with_means else scales
        if self.is_autoregressive:
            self.network.entropy_parameters.stand_in = told
        else:
            self.network.h_s.stand_in = told.expand(-1, -1, rows, columns).contiguous()

    @torch.inference_mode()
    def encode(self, rgb: Pixels) -> bytes:
        x = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
        coded = self.network.compress(pad_to_multiple(x, MULTIPLE))
        parts = [strings[0] for strings in coded["strings"]]
        head = struct.pack(f"<4I{len(parts)}I", *rgb.shape[:2], *coded["shape"], *map(len, parts))
        return head + b"".join(parts)

    @torch.inference_mode()
    def decode(self, data: bytes) -> Pixels:
        height, width, rows, columns, *sizes = struct.unpack_from("<6I", data)
        first = struct.calcsize("<6I")
        strings = [[data[first : first + sizes[0]]], [data[first + sizes[0] :]]]
        x_hat = self.network.decompress(strings, (rows, columns))["x_hat"][0, :, :height, :width]
        pixels: Pixels = x_hat.mul(255).round_().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        return pixels

    def _use(self, precision: torch.dtype) -> None:
        self.precision = precision
        for part in ("g_a", "g_s", "h_a", "h_s"):  # never what an autoregressive coder runs cell by cell
            getattr(self.network, part).precision = precision

    @torch.inference_mode()
    def _seconds(self, precision: torch.dtype) -> float:
        """Of analysis and synthesis on a small picture, the least of three."""
        self._use(precision)
        x, y = torch.rand(1, 3, PROBE_SIDE, PROBE_SIDE), torch.zeros(1, self.network.M, *[PROBE_SIDE // STRIDE] * 2)
        times = []
        for _ in range(4):
            started = time.perf_counter()
            self.network.g_a(x)
            self.network.g_s(y)
            times.append(time.perf_counter() - started)
        return min(times[1:])


def falling_scales(channels: int, bits_per_cell: float) -> Tensor:
    """Standard deviations [channels] that fall geometrically, such that rounded Gaussians take that many bits
    together.
    """
    shape = SCALE_RANGE ** -torch.linspace(0, 1, channels)
    low, high = 1e-3, 1e3
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rounded_gaussian_bits(middle * shape) < bits_per_cell else (low, middle)
    return middle * shape


def rounded_gaussian_bits(scales: Tensor) -> float:
    """Entropy in bits of one rounded sample of each zero-mean Gaussian [channels], together."""
    reach = int(4 * float(scales.max())) + 2
    edges = torch.arange(-reach, reach + 2) - 0.5
    below = torch.special.ndtr(edges / scales[:, None].double().clamp_min(1e-6))
    share = (below[:, 1:] - below[:, :-1]).clamp_min(1e-12)
    return float(-(share * share.log2()).sum())
