"""What a search works on: one picture, its latents, and what becomes of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from psic_cli.bitstream.header import Header
from psic_cli.bitstream.tables import SCALES
from psic_cli.latents import condition_of, level_of
from psic_cli.networks.backbone import MEAN_BITS, PICTURE_MULTIPLE, STRIDE
from psic_cli.networks.layers import pad_to_multiple
from psic_cli.zoo import Model

BAND_CELLS = 2**14  # latents of a channel: four megapixels
HALO = 8  # rows of latents: beyond, nothing of a latent is seen


@dataclass(frozen=True)
class Subject:
    """One picture, and what a search needs to know of its latents.

    x: [1, 3, H, W] in 0..1. latents: y in steps of quantisation, real [1, M, h, w]. mean: as the coder predicts it, in
    such steps, and sigma: of its tables, both of the latents as they are. analyse: a picture of the same size -> its
    latents. paint: latents in steps -> the picture, not clamped [1, 3, H, W].
    """

    x: Tensor
    latents: Tensor
    mean: Tensor
    sigma: Tensor
    analyse: Callable[[Tensor], Tensor]
    paint: Callable[[Tensor], Tensor]

    @property
    def plain(self) -> Tensor:
        """The symbols of plain rounding, [1, M, h, w]."""
        return (self.latents - self.mean).round()

    def bands(self) -> Iterator[tuple[Subject, slice]]:
        """The subject in horizontal bands of `BAND_CELLS` latents, so that what gradients remember is bounded: each
        with `HALO` rows of latents around it, and which of its rows are the band's own.
        """
        rows, columns = self.latents.shape[2:]
        step = max(HALO, BAND_CELLS // columns)
        for first in range(0, rows, step):
            last = min(rows, first + step)
            top, bottom = max(0, first - HALO), min(rows, last + HALO)
            if top == 0 and bottom == rows:
                yield self, slice(first, last)
            else:
                yield self._rows(top, bottom), slice(first - top, last - top)

    def _rows(self, top: int, bottom: int) -> Subject:
        """Rows of latents, and of the picture that they stand for."""
        x = self.x[:, :, top * STRIDE : bottom * STRIDE]
        latents, mean, sigma = (t[:, :, top:bottom] for t in (self.latents, self.mean, self.sigma))
        return replace(
            self, x=x, latents=latents, mean=mean, sigma=sigma, paint=lambda y: self.paint(y)[:, :, : x.shape[2]]
        )

    def settled(self, symbols: Tensor) -> Tensor:
        """Where the latents should lie to be coded as symbols [1, M, h, w], whatever the coder comes to predict: where
        the symbol is, if it is another one than that of plain rounding; else where they are.
        """
        return torch.where(symbols != self.plain, symbols + self.mean, self.latents)


def subject_of(x: Tensor, latents: Tensor, z: Tensor, header: Header, model: Model, protected: bool = True) -> Subject:
    """latents: of x, in steps of quantisation. z: their integers. protected: whether the picture is painted as that
    version, or as the full one.
    """
    network, level = model.network, level_of(header, model)
    condition = condition_of(header.strength / 100 if protected else 0.0, 0.0, header, model)

    def paint(scaled: Tensor) -> Tensor:
        with model.arithmetic():
            x_hat = network.synthesise(network.unscale(scaled, level), condition)
        return x_hat[..., : header.height, : header.width].float()

    def analyse(picture: Tensor) -> Tensor:
        with model.arithmetic():
            y, _ = network.analyse(pad_to_multiple(picture, PICTURE_MULTIPLE), network.quality(level))
        return network.scale(y.float(), level)

    _, prediction = network.code(latents, z, level)
    sigma = torch.tensor(SCALES, dtype=torch.float32, device=x.device)[network.spread(prediction.index).long()]
    return Subject(x, latents, prediction.mean.float() / 2**MEAN_BITS, sigma, analyse, paint)


def bits_of(symbols: Tensor, sigma: Tensor) -> Tensor:
    """Of each symbol under a Gaussian of mean 0: a differentiable stand-in for the tables."""
    outwards = -symbols.abs()
    mass = torch.special.ndtr((outwards + 0.5) / sigma) - torch.special.ndtr((outwards - 0.5) / sigma)
    return -torch.log2(mass.clamp_min(1e-6))


def clamp_through(x_hat: Tensor) -> Tensor:
    """A picture as decoders clamp it, 0..1, with gradients as if they did not: plain clamping would leave none exactly
    where a shield pushes hardest.
    """
    return x_hat + (x_hat.clamp(0, 1) - x_hat).detach()
