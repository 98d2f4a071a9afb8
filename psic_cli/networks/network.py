"""psic-base as one module: analysis, integer entropy network, conditional synthesis.

    x, quality --g_a--> y --h_a--> z ==coded==> z --h_s (integers)--> mean, table index
               y * gain - mean --round--> symbols ==coded in four steps==> (symbols + mean) * inverse gain = y_hat
                          symbols of earlier steps --context (integers)--> mean, table index of the next
                                                             y_hat, condition --g_s--> x_hat

It fulfils backbone.py's protocol, which is all that encoder and decoder know. Training calls the same parts, with
rounding that lets gradients through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from psic_cli.bitstream.header import quality_level
from psic_cli.networks import backbone
from psic_cli.networks.backbone import MEAN_BITS, STRIDE, Integers, rounded
from psic_cli.networks.cltg import Condition, ConditionalLatentTriggerGenerator
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.context_model import STEPS, ContextModel, gathered, scatter, step_of_each, turns
from psic_cli.networks.entropy_model import (
    GAIN_BITS,
    FrozenScaling,
    HyperAnalysis,
    HyperSynthesis,
    LatentScaling,
    scale_index,
    scale_mean,
)
from psic_cli.networks.integer_layers import WEIGHT_BITS, IntegerConv2d
from psic_cli.networks.strips import Finish, Made, Rows, as_it_is, in_strips
from psic_cli.networks.transforms import Analysis, Synthesis

REAL_PARTS = ("g_a", "g_s", "h_a")  # those that are stored as floats


@dataclass(frozen=True)
class Prediction:
    """What the entropy coder knows of y before it is coded, integers [B, latents, h, w]."""

    mean: Tensor  # of the scaled latents, in sixteenths
    index: Tensor  # of the table
    features: Tensor  # [B, hyper_width, h, w], what z tells the context model
    level: Tensor  # [B], of quality


class PsicNetwork(nn.Module):
    """The `psic-base` architecture; see the module docstring for the flow and design of each part in its own file."""

    steps = STEPS

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        c = self.config = config
        self.g_a = Analysis(c)
        self.g_s = Synthesis(c)
        self.h_a = HyperAnalysis(c.latents, c.hyper_width, c.hyper_latents, c.activation)
        self.h_s = HyperSynthesis(c.hyper_latents, c.hyper_width, c.latents, c.levels)
        self.context = nn.ModuleList(
            ContextModel(c.latents, c.hyper_width, c.levels, c.details) for _ in range(1, STEPS)
        )
        self.scaling: LatentScaling | FrozenScaling = LatentScaling(c.latents, c.levels)
        self.integer_type = torch.float32  # what carries the entropy network's integers

    def to_tensors(self) -> dict[str, Tensor]:
        """What is stored: float16 for the transforms, whole numbers for everything that decides a table (FORMAT.md
        section 7).

        Raises ValueError if the entropy network could leave the range of exact arithmetic.
        """
        self.check_exact()
        scaling = self.scaling.freeze() if isinstance(self.scaling, LatentScaling) else self.scaling
        tensors = {
            f"{part}.{key}": value.detach().cpu().half()
            for part in REAL_PARTS
            for key, value in getattr(self, part).state_dict().items()
        }
        for key, layer in self.integer_layers():
            tensors[f"{key}.weight"] = layer.integer_weight().detach().cpu().to(torch.int16)
            tensors[f"{key}.bias"] = layer.integer_bias().detach().cpu().to(torch.int32)
            if layer.levels:
                of_levels = layer.integer_level_bias(torch.arange(layer.levels, device=layer.bias.device))
                tensors[f"{key}.level_bias"] = of_levels[:, :, 0, 0].detach().cpu().to(torch.int32)
        tensors["scaling.gain"] = scaling.gain.cpu().to(torch.int16)
        tensors["scaling.offset"] = scaling.offset.cpu().to(torch.int16)
        tensors["scaling.inverse"] = scaling.inverse.cpu().float()
        return {key: value.contiguous() for key, value in tensors.items()}

    @classmethod
    def from_tensors(cls, config: NetworkConfig, tensors: dict[str, Tensor]) -> PsicNetwork:
        """The inverse of `to_tensors`, frozen and in evaluation mode. KeyError, RuntimeError or ValueError if they do
        not fit.
        """
        network = cls(config)  # the weights take the place of its parameters, whatever type a host has made the default
        for part in REAL_PARTS:
            state = {
                key[len(part) + 1 :]: value.float() for key, value in tensors.items() if key.startswith(part + ".")
            }
            getattr(network, part).load_state_dict(state, assign=True)
        for key, layer in network.integer_layers():
            bits = {"weight": WEIGHT_BITS, "bias": layer.accumulator_bits}
            if layer.levels:
                bits["level_bias"] = layer.accumulator_bits
                layer.level_bias = nn.Parameter(layer.bias.new_empty(layer.levels, len(layer.bias)))
            state = {name: tensors[f"{key}.{name}"].double() / 2**b for name, b in bits.items()}
            layer.load_state_dict(state, assign=True)
        network.check_exact()
        gain, offset, inverse = (tensors[f"scaling.{key}"] for key in ("gain", "offset", "inverse"))
        if gain.shape != (config.levels, config.latents) or offset.shape != gain.shape or inverse.shape != gain.shape:
            raise ValueError("the gains do not fit the number of levels and latents")
        network.scaling = FrozenScaling(gain.double(), offset.double(), inverse.float())
        network.use_integers(torch.float64)
        return network.eval().requires_grad_(False)

    def _integer_parts(self) -> dict[str, HyperSynthesis | ContextModel]:
        """The parts that decide symbols, with the names under which they are stored: one context model for each step
        but the first.
        """
        contexts = {f"context.{step}": part for step, part in enumerate(self.context_models(), start=1)}
        return {"h_s": self.h_s, **contexts}

    def context_models(self) -> list[ContextModel]:
        """Of the coding steps 1..3."""
        return list(self.context)  # type: ignore[arg-type]

    def integer_layers(self) -> list[tuple[str, IntegerConv2d]]:
        """All layers of the entropy network, with the names under which they are stored."""
        return [
            (f"{name}.{number}", layer)
            for name, part in self._integer_parts().items()
            for number, layer in enumerate(part.convolutions())
        ]

    def check_exact(self) -> None:
        """Raise ValueError if the entropy network could leave the range of exact arithmetic."""
        for part in self._integer_parts().values():
            part.check_exact()

    def use_integers(self, dtype: torch.dtype) -> None:
        """Carry the entropy network's integers in float64, float32 or int32 (see integer_layers.exact_type)."""
        floats = torch.float32 if dtype == torch.int32 else dtype
        self.h_s.to(floats)
        self.context.to(floats)
        assert isinstance(self.scaling, FrozenScaling)
        self.scaling.gain, self.scaling.offset = self.scaling.gain.to(dtype), self.scaling.offset.to(dtype)
        self.integer_type = dtype

    @property
    def hyper_latents(self) -> int:
        return self.config.hyper_latents

    @property
    def cltg(self) -> ConditionalLatentTriggerGenerator:
        return self.g_s.cltg

    @property
    def levels(self) -> int:
        """Of quality."""
        return self.config.levels

    def card_entry(self) -> dict[str, Any]:
        """What a model's card says of it."""
        return self.config.to_dict()

    def set_largest_side(self, side: int) -> None:
        """Up to which shorter side a condition depends on it."""
        self.config = replace(self.config, largest_side=side)

    def level(self, quality: int, short_side: int) -> int:
        """The level that a quality 1..100 means for a picture whose shorter side has so many pixels."""
        return quality_level(quality, self.config.levels, short_side, self.config.even_from)

    def quality(self, level: Tensor) -> Tensor:
        """Levels [B] as 0 (smallest file) to 1 (best)."""
        return self.config.quality(level)

    def condition(self, strength: float, machine: float, short_side: int, level: Tensor) -> Tensor:
        """What the synthesis is asked for at a level [1]: [1, 4]."""
        condition = Condition(strength, machine, short_side, self.quality(level).item())
        return condition.tensor(self.config.largest_side, level.device)

    def z_tables(self, level: Tensor) -> Tensor:
        """The table of each channel of z: [B, hyper_latents]."""
        return self.config.z_tables(level)

    def of_step(self, planes: Integers, step: int) -> Integers:
        """The latents of a step, of planes [latents, h, w], as they stand in the stream."""
        return gathered(planes, step)

    def put_step(self, planes: Integers, step: int, symbols: Integers) -> None:
        """The inverse: into planes [latents, h, w]."""
        scatter(planes, step, symbols)

    def spread(self, index: Tensor) -> Tensor:
        """Table indexes of y are those of their standard deviation in bitstream.tables.SCALES."""
        return index

    def analyse(self, x: Rows, quality: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in 0..1, sides multiples of 64, and qualities [B] in 0..1 -> y [B, latents, H/16, W/16],
        z [B, hyper_latents, H/64, W/64], both real.
        """
        if self.training:
            y = self.g_a(x, quality)
        else:
            columns, halo = x.shape[3] // STRIDE, self.g_a.view
            y = in_strips(lambda rows: self.g_a(rows, quality), x, row_unit=STRIDE, cell_columns=columns, halo=halo)
        return y, self.side_information(y, quality)

    def side_information(self, y: Tensor, quality: Tensor) -> Tensor:
        """y and qualities [B] -> z, real."""
        if self.training:
            return self.h_a(y, quality)  # type: ignore[no-any-return]
        return in_strips(lambda rows: self.h_a(rows, quality), y, row_unit=4, cell_columns=y.shape[3], halo=1)

    def predict(self, z: Tensor, level: Tensor) -> Prediction:
        """Integer z [B, N, h/4, w/4] and levels [B] -> what is known of y before any of it is coded.

        z's dtype is `integer_type`; those of what is told are narrower, but in training.
        """
        if self.training:
            return Prediction(*self._predicted(z, level), level)
        # The view of h_s is one z cell, a half and a quarter
        told = in_strips(lambda rows: _narrow(*self._predicted(rows, level)), z, cell_columns=4 * z.shape[3], halo=2)
        latents = self.config.latents
        features = told[:, 2 * latents :].clone()  # they outlive the rest, which refining replaces
        return Prediction(told[:, :latents], told[:, latents : 2 * latents], features, level)

    def _predicted(self, z: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, index and features."""
        mean, index, features = self.h_s(z, level)
        scaled = scale_mean(mean, self.scaling.integer_gain(level))
        return scaled, scale_index(index, self.scaling.index_offset(level)), features

    def refine(self, prediction: Prediction, symbols: Tensor, step: int) -> Prediction:
        """The prediction for a coding step 1..3. symbols: [B, latents, h, w], read where they are of earlier steps."""
        model = self.context_models()[step - 1]
        if self.training:
            latents, height, width = prediction.mean.shape[1:]
            steps = step_of_each(latents, height, width, prediction.mean.device)
            seen = symbols.to(prediction.mean.dtype) * (steps < step)
            mean, index = model(seen, prediction.features, prediction.index, prediction.level)
            mean = prediction.mean + mean * (steps == step)
            return replace(prediction, mean=mean, index=scale_index(prediction.index, index * (steps == step)))

        def refined(symbols: Tensor, *told: Tensor) -> Tensor:
            mean, index, features = (t.to(self.integer_type, copy=True) for t in told)
            for found in model.corrections(symbols, features, index, prediction.level, step):
                index[found.where] = scale_index(index[found.where], found.index)
                mean[found.where] += found.mean
            return _narrow(mean, index)

        told = (prediction.mean, prediction.index, prediction.features)
        columns = symbols.shape[3]
        mean, index = in_strips(refined, symbols, *told, row_unit=2, cell_columns=columns, halo=1).chunk(2, dim=1)
        return replace(prediction, mean=mean, index=index)

    def scale(self, y: Tensor, level: Tensor) -> Tensor:
        """Real y -> the same in steps of quantisation at a level."""
        return y * (self.scaling.integer_gain(level).to(y.dtype) / 2**GAIN_BITS)

    def unscale(self, scaled: Tensor, level: Tensor) -> Tensor:
        """y in steps of quantisation at a level -> what the synthesis takes."""
        return scaled * self.scaling.inverse_gain(level)

    def code(self, scaled: Tensor, z: Tensor, level: Tensor) -> tuple[Tensor, Prediction]:
        """Scaled y (see `scale`) and integer z -> the symbols of all coding steps, whole numbers [B, latents, h, w],
        and what they are coded with. Encoder only.
        """
        prediction, symbols = self.predict(z, level), torch.zeros_like(scaled)
        for step in range(STEPS):
            if step:
                prediction = self.refine(prediction, symbols, step)
            for where in turns(step):
                symbols[where] = rounded(scaled[where], prediction.mean[where])
        return symbols, prediction

    def restore(self, symbols: Tensor, prediction: backbone.Prediction, level: Tensor) -> Tensor:
        """Symbols and what they were coded with -> y_hat float [B, latents, h, w]."""

        def restored(symbols: Tensor, mean: Tensor) -> Tensor:
            return self.unscale(symbols + mean.float() / 2**MEAN_BITS, level)

        return Made(restored, (symbols, prediction.mean)).joined()

    def synthesise(self, y_hat: Rows, condition: Tensor, finish: Finish = as_it_is) -> Tensor:
        """y_hat and conditions [B, 4] (see cltg.Condition) -> x_hat [B, 3, H, W], not clamped."""
        if self.training:
            return self.g_s(y_hat, condition)  # type: ignore[no-any-return]
        biases = self.g_s.biases(condition)
        columns, halo = y_hat.shape[3], self.g_s.view
        return in_strips(
            lambda rows: self.g_s.paint(rows, biases), y_hat, cell_columns=columns, halo=halo, finish=finish
        )


def _narrow(*told: Tensor) -> Tensor:
    """What is told of y, one after the other along the channels, as integers that need no more than they must."""
    return torch.cat([t.to(torch.int16) for t in told], dim=1)
