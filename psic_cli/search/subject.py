"""What a search works on: one picture, its latents, and what becomes of both."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from psic_cli.bitstream.header import Header
from psic_cli.bitstream.tables import SCALES
from psic_cli.latents import condition_of, level_of
from psic_cli.networks.backbone import MEAN_BITS, STRIDE
from psic_cli.networks.padded import as_floats
from psic_cli.networks.strips import Finish, Made, Rows, as_it_is
from psic_cli.zoo import Model

WHOLE_CELLS = 2**14  # latents of a channel: four megapixels
TILE = 64  # of latents, the side of a square
HALO = 8  # latents: beyond, nothing of a latent is seen

Place = tuple[slice, slice]  # rows and columns of latents


@dataclass(frozen=True)
class Subject:
    """One picture, and what a search needs to know of its latents.

    levels: of the picture, uint8 [1, 3, H, W]. latents: y in steps of quantisation, real [1, M, h, w]. sixteenths: of
    such steps, the mean that the coder predicts, and spread: the index in SCALES of its tables' standard deviation,
    both of the latents as they are. analyse: a picture of the same size, padded -> its y, and scale: any rows of that
    -> latents in steps. paint: latents in steps -> the picture, not clamped [1, 3, H, W], or what `finish` makes of its
    rows (see strips.in_strips).

    What is as large as the picture is kept as the integers that it is made of.
    """

    levels: Tensor
    latents: Tensor
    sixteenths: Tensor
    spread: Tensor
    analyse: Callable[[Rows], Tensor]
    scale: Callable[[Tensor], Tensor]
    paint: Callable[..., Tensor]

    @property
    def x(self) -> Tensor:
        """The picture in 0..1."""
        return as_floats(self.levels)

    @property
    def mean(self) -> Tensor:
        """In steps of quantisation."""
        return self.sixteenths.float() / 2**MEAN_BITS

    @property
    def sigma(self) -> Tensor:
        """Standard deviations, in steps of quantisation."""
        return torch.tensor(SCALES, dtype=torch.float32, device=self.spread.device)[self.spread.long()]

    @property
    def plain(self) -> Tensor:
        """The symbols of plain rounding, [1, M, h, w]."""
        return (self.latents - self.mean).round()

    def tiles(self) -> Iterator[tuple[Subject, Place, Place]]:
        """The subject in tiles, so that what gradients remember is bounded: each with `HALO` latents around it, which
        of its rows and columns are its own, and which of the subject's those are. A picture of `WHOLE_CELLS` is one.
        """
        rows, columns = self.latents.shape[2:]
        side = max(rows, columns) if rows * columns <= WHOLE_CELLS else TILE
        for top, left in itertools.product(range(0, rows, side), range(0, columns, side)):
            bottom, right = min(rows, top + side), min(columns, left + side)
            first, start = max(0, top - HALO), max(0, left - HALO)
            own = slice(top - first, bottom - first), slice(left - start, right - start)
            tile = self._part(slice(first, bottom + HALO), slice(start, right + HALO))
            yield tile, own, (slice(top, bottom), slice(left, right))

    def _part(self, rows: slice, columns: slice) -> Subject:
        """Some of the latents, and of the picture what they stand for."""
        tall, wide = (slice(of.start * STRIDE, of.stop * STRIDE) for of in (rows, columns))
        levels = self.levels[..., tall, wide]
        height, width = levels.shape[2:]
        latents, sixteenths, spread = (t[..., rows, columns] for t in (self.latents, self.sixteenths, self.spread))
        return replace(
            self,
            levels=levels,
            latents=latents,
            sixteenths=sixteenths,
            spread=spread,
            paint=lambda y: self.paint(y)[..., :height, :width],
        )

    def each(self, change: Callable[..., Tensor], *planes: Rows) -> Made:
        """`change` of rows of the latents, and of planes of their shape [1, M, h, w]."""

        def make(latents: Tensor, sixteenths: Tensor, spread: Tensor, *rows: Tensor) -> Tensor:
            return change(replace(self, latents=latents, sixteenths=sixteenths, spread=spread), *rows)

        return Made(make, (self.latents, self.sixteenths, self.spread, *planes))

    def shown(self, symbols: Rows, keep: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """What symbols [1, M, h, w] look like, clamped: what `keep` makes of a few rows at a time, joined, and the mean
        square error, [].

        keep: [1, 3, rows, W', W' being W or more] -> [1, 3, rows, any].
        """
        errors = []

        def finish(x_hat: Tensor, rows: slice) -> Tensor:
            x, x_hat = as_floats(self.levels[:, :, rows]), x_hat.float().clamp(0, 1)
            errors.append((x_hat[:, :, : x.shape[2], : x.shape[3]] - x).square_().sum())
            return keep(x_hat)

        kept = self.paint(self.each(lambda own, symbols: symbols + own.mean, symbols), finish)
        return kept, torch.stack(errors).sum() / self.levels.numel()

    def settled(self, symbols: Rows) -> Tensor:
        """Where the latents should lie to be coded as symbols [1, M, h, w], whatever the coder comes to predict: where
        the symbol is, if it is another one than that of plain rounding; else where they are.
        """

        def settle(own: Subject, symbols: Tensor) -> Tensor:
            return torch.where(symbols != own.plain, symbols + own.mean, own.latents)

        return self.each(settle, symbols).joined()


def subject_of(
    levels: Tensor, latents: Tensor, z: Tensor, header: Header, model: Model, protected: bool = True
) -> Subject:
    """levels: of a picture, uint8 [1, 3, H, W]. latents: its own, in steps of quantisation. z: their integers.
    protected: whether the picture is painted as that version, or as the full one.
    """
    network, level = model.network, level_of(header, model)
    condition = condition_of(header.strength / 100 if protected else 0.0, 0.0, header, model)

    def unscale(scaled: Tensor) -> Tensor:
        return network.unscale(scaled, level)

    def paint(scaled: Rows, finish: Finish = as_it_is) -> Tensor:
        with model.arithmetic():
            painted = network.synthesise(Made(unscale, (scaled,)), condition, finish)
        return painted[..., : header.height, : header.width].float()

    def analyse(picture: Rows) -> Tensor:
        with model.arithmetic():
            return network.analyse(picture, network.quality(level))[0]

    def scale(y: Tensor) -> Tensor:
        return network.scale(y.float(), level)

    prediction = network.code(latents, z, level)[1]
    return Subject(levels, latents, prediction.mean, network.spread(prediction.index), analyse, scale, paint)


def bits_of(symbols: Tensor, sigma: Tensor) -> Tensor:
    """Of each symbol under a Gaussian of mean 0: a differentiable stand-in for the tables."""
    outwards = -symbols.abs()
    mass = torch.special.ndtr((outwards + 0.5) / sigma) - torch.special.ndtr((outwards - 0.5) / sigma)
    return -torch.log2(mass.clamp_min(1e-6))
