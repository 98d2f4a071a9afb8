"""CompressAI's networks as backbones: their transforms as they were trained, their entropy networks in integers.

    Factorized     y alone, a table for each channel
    Hyperprior     z tells a scale of each latent, and a mean where the network has means

grouped.py has those whose latents know of others, variable.py those that have all qualities. All fulfil
networks/backbone.py's protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from types import EllipsisType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from psic_cli.backbones.integers import IntegerChain
from psic_cli.backbones.transforms import Transform
from psic_cli.networks.backbone import MEAN_BITS, Integers, Prediction, rounded
from psic_cli.networks.cltg import CONDITIONS, WITNESS_SIDE, Condition, ConditionalLatentTriggerGenerator
from psic_cli.networks.integer_layers import exact_float
from psic_cli.networks.strips import Finish, Rows, as_it_is

SIGMA_BITS = 8  # scales come in units of 2^-8
MEAN_MAX = 2**15 - 1  # sixteenths
MOST_SPAN = 4.0  # of quality
Where = tuple[EllipsisType | slice, ...]  # an index of [..., latents, h, w]


@dataclass(frozen=True)
class Sizes:
    """What a model's card says of its network.

    width: channels inside the transforms. latents: of y. hyper_latents: of z. quality: 0..1, at which the network was
    trained: what its encoder weighs bits with; of several levels, that of the middle one. span: from the lowest level
    to the highest. largest_side: see cltg.Condition.
    """

    width: int
    latents: int
    hyper_latents: int
    quality: float
    largest_side: int = WITNESS_SIDE
    span: float = 0.0

    def __post_init__(self) -> None:
        least = min(self.width, self.latents, self.hyper_latents + 1, self.largest_side)
        if not (0 <= self.quality <= 1 and 0 <= self.span <= MOST_SPAN and least > 0):
            raise ValueError("a size of the network is out of range")


@dataclass(frozen=True)
class Told:
    """What the entropy coder knows of y, integers [B, latents, h, w]; side [B, C, h, w]: what later steps need."""

    mean: Tensor  # sixteenths
    index: Tensor  # of the table
    side: Tensor


class Adapted(nn.Module):
    """What all have in common; but for variable.py's, one quality, and y in steps of 1.

    Args:
        of_tables: [n_tables], the index in bitstream.tables.SCALES of each table of y.

    Attributes:
        cltg: what a condition adds behind each layer of the synthesis but the last. None: every condition gives the
            full version.
    """

    steps: int = 1
    levels: int = 1
    of_tables: Tensor

    def __init__(self, sizes: Sizes, g_a: Transform, g_s: Transform, of_tables: Tensor) -> None:
        super().__init__()
        self.sizes, self.g_a, self.g_s = sizes, g_a, g_s
        self.cltg: ConditionalLatentTriggerGenerator | None = None
        self.register_buffer("of_tables", of_tables.long())
        self.integer_type = torch.float64

    @property
    def hyper_latents(self) -> int:
        return self.sizes.hyper_latents

    def use_integers(self, dtype: torch.dtype) -> None:
        """Carry the integers in float64 or float32. In place of int32, the quicker one of them that is exact."""
        self.integer_type = exact_float(self.of_tables.device) if dtype == torch.int32 else dtype
        for part in self._integer_parts():
            part.to(self.integer_type)

    def _integer_parts(self) -> Sequence[nn.Module]:
        return ()

    def level(self, quality: int, short_side: int) -> int:
        """There is one."""
        return 0

    def quality(self, level: Tensor) -> Tensor:
        return torch.full(level.shape, self.sizes.quality, device=level.device)

    def condition(self, strength: float, machine: float, short_side: int, level: Tensor) -> Tensor:
        """Zeros where none is known: versions differ by their latents alone."""
        if self.cltg is None:
            return torch.zeros(1, CONDITIONS, device=level.device)
        condition = Condition(strength, machine, short_side, self.quality(level).item())
        return condition.tensor(self.sizes.largest_side, level.device)

    def card_entry(self) -> dict[str, Any]:
        """What a model's card says of it."""
        return asdict(self.sizes)

    def set_largest_side(self, side: int) -> None:
        """Up to which shorter side a condition depends on it."""
        self.sizes = replace(self.sizes, largest_side=side)

    def scale(self, y: Tensor, level: Tensor) -> Tensor:
        """Steps are 1."""
        return y

    def unscale(self, scaled: Tensor, level: Tensor) -> Tensor:
        return scaled

    def z_tables(self, level: Tensor) -> Tensor:
        """The table of each channel of z: [B, hyper_latents]."""
        return torch.arange(self.hyper_latents, device=level.device).expand(len(level), -1)

    def analyse(self, x: Rows, quality: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in 0..1, sides multiples of 64 -> y [B, latents, H/16, W/16], z [B, hyper_latents, H/64, W/64],
        both real.
        """
        y = self.g_a(x)
        return y, self.side_information(y, quality)

    def side_information(self, y: Tensor, quality: Tensor) -> Tensor:
        """y -> z, around its medians."""
        return y.new_zeros(len(y), 0, y.shape[2] // 4, y.shape[3] // 4)

    def predict(self, z: Tensor, level: Tensor) -> Told:
        """Integer z -> what is known of y before any of it is coded."""
        raise NotImplementedError

    def refine(self, prediction: Told, symbols: Tensor, step: int) -> Told:
        """The prediction for a later step. symbols: [B, latents, h, w], read where they are of earlier steps."""
        raise NotImplementedError

    def code(self, scaled: Tensor, z: Tensor, level: Tensor) -> tuple[Tensor, Told]:
        """y and integer z -> the symbols of all steps, and what they are coded with. Encoder only."""
        prediction, symbols = self.predict(z, level), torch.zeros_like(scaled)
        for step in range(self.steps):
            if step:
                prediction = self.refine(prediction, symbols, step)
            for where in self.turns(step):
                symbols[where] = rounded(scaled[where], prediction.mean[where])
        return symbols, prediction

    def turns(self, step: int) -> list[Where]:
        """Where the latents of a step are: indexes of [..., latents, h, w], in the order of the stream."""
        return [(...,)]

    def of_step(self, planes: Integers, step: int) -> Integers:
        """The latents of a step, of planes [latents, h, w], as they stand in the stream."""
        return np.concatenate([planes[where].ravel() for where in self.turns(step)])

    def put_step(self, planes: Integers, step: int, symbols: Integers) -> None:
        """The inverse: into planes [latents, h, w]."""
        for where in self.turns(step):
            target = planes[where]
            part, symbols = np.split(symbols, [target.size])
            target[...] = part.reshape(target.shape)

    def spread(self, index: Tensor) -> Tensor:
        """Table indexes of y -> those of their standard deviation in bitstream.tables.SCALES."""
        return self.of_tables[index.long()]

    def restore(self, symbols: Tensor, prediction: Prediction, level: Tensor) -> Tensor:
        """Symbols and what they were coded with -> y_hat."""
        return symbols + prediction.mean.float() / 2**MEAN_BITS

    def synthesise(self, y_hat: Rows, condition: Tensor, finish: Finish = as_it_is) -> Tensor:
        """y_hat -> x_hat [B, 3, H, W], not clamped."""
        biases = () if self.cltg is None else self.cltg(condition)
        return self.g_s(y_hat, finish, biases)  # type: ignore[no-any-return]


class Factorized(Adapted):
    """bmshj2018-factorized (Balle et al. 2018): nothing is told of y but by its channel. There is no z.

    Args:
        mean: [latents], sixteenths.
    """

    mean: Tensor

    def __init__(self, sizes: Sizes, g_a: Transform, g_s: Transform, of_tables: Tensor, mean: Tensor) -> None:
        super().__init__(sizes, g_a, g_s, of_tables)
        self.register_buffer("mean", mean.float())

    def predict(self, z: Tensor, level: Tensor) -> Told:
        height, width = (4 * side for side in z.shape[2:])
        channels = torch.arange(self.sizes.latents, device=z.device, dtype=torch.float32)
        mean, index = (values[:, None, None].expand(len(z), -1, height, width) for values in (self.mean, channels))
        return Told(mean, index, z)


class Hyperprior(Adapted):
    """bmshj2018-hyperprior (Balle et al. 2018) and mbt2018-mean (Minnen et al. 2018).

        z, ones ==h_s, integers==> scale (2^-8), and mean (sixteenths) if there is one -> table index

    Args:
        h_s: to latents, or 2 * latents; its input is z and a plane of ones, which says where the picture is: beyond
            its edge z has no median.
        thresholds: [n_tables - 1], rising, in units of 2^-8: an index is how many of them a scale reaches.
    """

    thresholds: Tensor

    def __init__(
        self,
        sizes: Sizes,
        g_a: Transform,
        g_s: Transform,
        of_tables: Tensor,
        h_a: nn.Sequential,
        h_s: IntegerChain,
        thresholds: Tensor,
        magnitudes: bool,
    ) -> None:
        super().__init__(sizes, g_a, g_s, of_tables)
        self.h_a, self.h_s, self.magnitudes = h_a, h_s, magnitudes
        self.register_buffer("thresholds", thresholds.float())

    def _integer_parts(self) -> Sequence[nn.Module]:
        return (self.h_s,)

    def side_information(self, y: Tensor, quality: Tensor) -> Tensor:
        with torch.autocast(y.device.type, enabled=False):
            return self.h_a(y.float().abs() if self.magnitudes else y.float())  # type: ignore[no-any-return]

    def _from_z(self, z: Tensor) -> Tensor:
        """What h_s gives for integer z [B, N, h/4, w/4]."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(self.integer_type)
            return self.h_s(torch.cat([z, torch.ones_like(z[:, :1])], dim=1))  # type: ignore[no-any-return]

    def _mean_and_index(self, outputs: Tensor, latents: int) -> tuple[Tensor, Tensor]:
        """[B, latents or 2 * latents, h, w] -> mean and index [B, latents, h, w]."""
        scale = outputs[:, :latents]
        index = torch.bucketize(scale.float().contiguous(), self.thresholds, right=True).to(outputs.dtype)
        mean = outputs[:, latents:].clamp(-MEAN_MAX, MEAN_MAX)
        return (mean if mean.shape[1] else torch.zeros_like(scale)), index

    def predict(self, z: Tensor, level: Tensor) -> Told:
        outputs = self._from_z(z)
        return Told(*self._mean_and_index(outputs, self.sizes.latents), outputs)
