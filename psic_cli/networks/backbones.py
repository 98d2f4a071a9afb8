"""CompressAI's networks with CLTG in their synthesis: the scheme is plug-and-play, and this is the plug.

`adapt("bmshj2018-hyperprior")` gives a network with the parts that training experiments need: `analyse`, `latents`,
`synthesise`. Its encoder and entropy model are CompressAI's, untouched; its synthesis takes a condition.

For research on tensors alone, with CompressAI's own estimate of the rate. There are no `.psic` files of these networks:
their entropy parameters are floating point, and would choose other tables on another machine. An integer entropy
network of psic would have to be trained in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from psic_cli import packages
from psic_cli.networks.cltg import ConditionalLatentTriggerGenerator

if TYPE_CHECKING:
    from compressai.models import ScaleHyperprior

BACKBONES = ("bmshj2018-hyperprior", "mbt2018-mean")
MULTIPLE = 64  # pixels: sides of pictures must be multiples of it


class ConditionalSynthesis(nn.Module):
    """A synthesis g_s of deconvolutions and inverse GDNs, with a CLTG bias after each of its stages.

        y_hat [B, M, h, w] -> deconvolution -> IGDN -> + bias -> deconvolution -> IGDN -> + bias ... -> [B, 3, 16h, 16w]

    A stage is a deconvolution and what follows it; the last one, which gives the pixels, has a bias too (one for each
    colour). Biases start at zero: an untrained generator leaves the synthesis as it was.

    Args:
        layers: the original g_s; its modules are used, not copied.
        hidden: width of the condition's MLP.
    """

    def __init__(self, layers: nn.Sequential, hidden: int) -> None:
        super().__init__()
        stages: list[list[nn.Module]] = []
        for layer in layers:
            if isinstance(layer, nn.ConvTranspose2d):
                stages.append([])
            stages[-1].append(layer)
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        widths = [stage[0].out_channels for stage in stages]
        self.cltg = ConditionalLatentTriggerGenerator(widths, hidden)  # type: ignore[arg-type]

    def forward(self, y_hat: Tensor, condition: Tensor) -> Tensor:
        """[B, M, h, w], conditions [B, 4] (see cltg.Condition) -> [B, 3, 16 h, 16 w], not clamped."""
        h = y_hat
        for stage, bias in zip(self.stages, self.cltg(condition), strict=True):
            h = stage(h) + bias
        return h


class AdaptedBackbone(nn.Module):
    """One of CompressAI's hyperprior networks whose decodes a condition steers.

        x --g_a--> y --h_a--> z ==entropy bottleneck==> z_hat --h_s--> scales (and means) of y
        y --round around the means--> y_hat
        y_hat, condition --g_s with CLTG--> x_hat

    Args:
        backbone: the network; its modules are used, not copied.
        hidden: width of the condition's MLP.
    """

    def __init__(self, backbone: ScaleHyperprior, hidden: int = 512) -> None:
        super().__init__()
        self.g_a, self.h_a, self.h_s = backbone.g_a, backbone.h_a, backbone.h_s
        self.entropy_bottleneck, self.gaussian = backbone.entropy_bottleneck, backbone.gaussian_conditional
        self.g_s = ConditionalSynthesis(backbone.g_s, hidden)
        self.latent_channels = int(backbone.M)

    def analyse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in 0..1, sides multiples of 64 -> y [B, M, H/16, W/16], z [B, N, H/64, W/64], both real."""
        y = self.g_a(x)
        return y, self.h_a(y if self._has_means else y.abs())

    def latents(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What a decoder has, y_hat [B, M, h, w], and bits per pixel [B].

        In training mode the bits are those of latents with uniform noise, as CompressAI has it; y_hat is rounded in
        either mode, with the gradient passed as if nothing had been done.
        """
        y, z = self.analyse(x)
        _, z_likelihood = self.entropy_bottleneck(z)
        median = self.entropy_bottleneck._get_medians().detach()[None].reshape(1, -1, 1, 1)
        parameters = self.h_s(_round(z - median) + median)
        scales, means = parameters.chunk(2, 1) if self._has_means else (parameters, torch.zeros_like(parameters))
        _, y_likelihood = self.gaussian(y, scales, means)
        pixels = x.shape[2] * x.shape[3]
        bits = sum(-p.clamp_min(1e-9).log2().sum((1, 2, 3)) for p in (y_likelihood, z_likelihood))
        return _round(y - means) + means, bits / pixels

    def synthesise(self, y_hat: Tensor, condition: Tensor) -> Tensor:
        """y_hat and conditions [B, 4] (see cltg.Condition) -> x_hat [B, 3, H, W], not clamped."""
        x_hat: Tensor = self.g_s(y_hat, condition)
        return x_hat

    def freeze_encoder(self) -> None:
        """Leave only the synthesis and its CLTG to be trained: the bits stay what they are."""
        self.requires_grad_(False)
        self.g_s.requires_grad_(True)

    @property
    def _has_means(self) -> bool:
        """Whether h_s tells means besides scales, as mbt2018-mean does."""
        last = [layer for layer in self.h_s if isinstance(layer, nn.Conv2d)][-1]
        return last.out_channels == 2 * self.latent_channels


def adapt(name: str, weights: Path | Mapping[str, Any] | None = None, *, hidden: int = 512) -> AdaptedBackbone:
    """A network of CompressAI, ready for conditions; decodes equal the original's until CLTG is trained.

    name: one of BACKBONES. weights: a state dict of CompressAI, or a file of one (loaded as plain tensors: it runs no
    code); None starts at random, N 128 and M 192. Raises ValueError for another name, and for weights of another
    network; UsageError if CompressAI is missing.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}, not one of {', '.join(BACKBONES)}")
    packages.need("compressai", f"backbone {name}", extra="compressai")
    from compressai.models import MeanScaleHyperprior, ScaleHyperprior

    kind = {"bmshj2018-hyperprior": ScaleHyperprior, "mbt2018-mean": MeanScaleHyperprior}[name]
    if weights is None:
        return AdaptedBackbone(kind(128, 192), hidden)
    state = torch.load(weights, map_location="cpu", weights_only=True) if isinstance(weights, Path) else dict(weights)
    try:
        return AdaptedBackbone(kind.from_state_dict(state), hidden)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"these are not weights of {name}: {error}") from error


def _round(x: Tensor) -> Tensor:
    """To whole numbers; the gradient passes as if nothing had been done."""
    return x + (torch.round(x) - x).detach()
