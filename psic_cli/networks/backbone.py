"""What psic asks of a learned codec, whichever it is: the encoder, the decoder and the search know this and no more.

    picture --analyse--> y, z --scale--> y in steps of quantisation --code--> symbols
    z --predict--> mean, table index --refine, step by step--> symbols --restore--> y_hat --synthesise--> picture

A latent of y is a cell of 16x16 pixels, one of z of 64x64. Everything that decides a symbol (`predict`, `refine`) is
integers: the same on every machine. networks/network.py is psic-base; backbones/ has other people's networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from psic_cli.networks.strips import Finish, Rows, as_it_is

STRIDE = 16  # pixels per latent
PICTURE_MULTIPLE = 64  # pixels per z cell: pictures are padded to a multiple of it
SYMBOL_MAX = 2**15 - 1  # of a latent symbol; the encoder clamps
Z_MAX = 127  # of a symbol of z
MEAN_BITS = 4  # means are carried in sixteenths
# Weight of 255^2 MSE against bits per pixel with which models are trained, at the quality 0 and at 1
LAMBDAS = (0.0008, 0.08)

Integers = npt.NDArray[np.integer[Any]]


class Prediction(Protocol):
    """What the entropy coder knows of y, whole numbers [B, latents, h, w]."""

    @property
    def mean(self) -> Tensor:
        """Of the scaled latents, in sixteenths."""

    @property
    def index(self) -> Tensor:
        """Of the table."""


def clamp_z(z: Tensor) -> Tensor:
    """Round z to the symbols that are coded, -127..127."""
    return torch.floor(z + 0.5).clamp(-Z_MAX, Z_MAX)


def rounded(scaled: Tensor, mean: Tensor) -> Tensor:
    """Scaled latents and their means, in sixteenths -> symbols."""
    return torch.round(scaled - mean.to(scaled.dtype) / 2**MEAN_BITS).clamp_(-SYMBOL_MAX, SYMBOL_MAX)


Told = TypeVar("Told", bound=Prediction)


class Backbone(Protocol[Told]):
    """A learned codec, frozen. `level` below is of quality, [B]; a condition is [B, 4] (see cltg.Condition)."""

    @property
    def steps(self) -> int:
        """In how many steps y is coded."""

    @property
    def levels(self) -> int:
        """Of quality."""

    @property
    def hyper_latents(self) -> int:
        """Channels of z; 0: there is no z."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """All that was trained."""

    @property
    def integer_type(self) -> torch.dtype:
        """What carries the integers."""

    def use_integers(self, dtype: torch.dtype) -> None:
        """Carry the integers in float64, float32 or int32 (see integer_layers.exact_type), or in what is as exact."""

    def level(self, quality: int, short_side: int) -> int:
        """The level that a quality 1..100 means for a picture whose shorter side has so many pixels."""

    def quality(self, level: Tensor) -> Tensor:
        """Levels as 0 (smallest file) to 1 (best), or a little beyond."""

    def condition(self, strength: float, machine: float, short_side: int, level: Tensor) -> Tensor:
        """What `synthesise` is asked for: a shield strength and a preference for machines, 0..1 each."""

    def analyse(self, x: Rows, quality: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in 0..1, sides multiples of 64, and qualities [B] -> y [B, latents, H/16, W/16],
        z [B, hyper_latents, H/64, W/64], both real.
        """

    def side_information(self, y: Tensor, quality: Tensor) -> Tensor:
        """The z of a y that was moved: real."""

    def scale(self, y: Tensor, level: Tensor) -> Tensor:
        """Real y -> the same in steps of quantisation."""

    def unscale(self, scaled: Tensor, level: Tensor) -> Tensor:
        """The way back: y in steps of quantisation -> what `synthesise` takes."""

    def z_tables(self, level: Tensor) -> Tensor:
        """The table of each channel of z: [B, hyper_latents]."""

    def predict(self, z: Tensor, level: Tensor) -> Told:
        """Integer z -> what is known of y before any of it is coded."""

    def refine(self, prediction: Told, symbols: Tensor, step: int) -> Told:
        """The prediction for a later step. symbols: [B, latents, h, w], read where they are of earlier steps."""

    def code(self, scaled: Tensor, z: Tensor, level: Tensor) -> tuple[Tensor, Told]:
        """Scaled y and integer z -> the symbols of all steps, and what they are coded with. Encoder only."""

    def of_step(self, planes: Integers, step: int) -> Integers:
        """The latents of a step, of planes [latents, h, w], as they stand in the stream."""

    def put_step(self, planes: Integers, step: int, symbols: Integers) -> None:
        """The inverse: into planes [latents, h, w]."""

    def spread(self, index: Tensor) -> Tensor:
        """Table indexes of y -> the index in bitstream.tables.SCALES of their standard deviation."""

    def restore(self, symbols: Tensor, prediction: Prediction, level: Tensor) -> Tensor:
        """Symbols and what they were coded with -> y_hat [B, latents, h, w]."""

    def synthesise(self, y_hat: Rows, condition: Tensor, finish: Finish = as_it_is) -> Tensor:
        """y_hat under a condition -> x_hat [B, 3, H, W], not clamped. finish: what becomes of a few rows of it at a
        time, and which they are (see strips.in_strips); what it gives is joined.
        """
