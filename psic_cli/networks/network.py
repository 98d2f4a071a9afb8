"""psic-base as one module: analysis, integer entropy network, conditional synthesis.

    x, quality --g_a--> y --h_a--> z ==coded==> z --h_s (integers)--> mean, table index
               y * gain - mean --round--> symbols ==coded in four steps==> (symbols + mean) * inverse gain = y_hat
                          symbols of earlier steps --context (integers)--> mean, table index of the next
                                                             y_hat, condition --g_s--> x_hat
                          or, for all versions but the full one, if the network has a synthesis for them, --g_p-->

What protects a large picture is drawn on a thumbnail of it, and a guide adds its steps to what a synthesis has drawn:
`picture` is the whole way from latents to pixels.

`analyse`, `predict`, `refine`, `restore` and `picture` are the parts that codec.py uses. Training calls the same
parts, with rounding that lets gradients through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from psic_cli.networks.cltg import QUALITY, at_full_strength, of_full, share_drawn
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.context_model import STEPS, ContextModel, step_of_each, turns
from psic_cli.networks.entropy_model import (
    GAIN_BITS,
    MEAN_BITS,
    FrozenScaling,
    HyperAnalysis,
    HyperSynthesis,
    LatentScaling,
    scale_index,
    scale_mean,
)
from psic_cli.networks.guide import Guide
from psic_cli.networks.integer_layers import WEIGHT_BITS, IntegerConv2d
from psic_cli.networks.layers import pad_to_multiple
from psic_cli.networks.strips import in_strips
from psic_cli.networks.thumbnails import enlarged, is_large, thumbnail
from psic_cli.networks.transforms import STRIDE, Analysis, ConditionalSynthesis, Synthesis

PICTURE_MULTIPLE = 64  # pixels per z cell: pictures are padded to a multiple of it
AnySynthesis = TypeVar("AnySynthesis", bound=Synthesis)
SYMBOL_MAX = 2**15 - 1  # of a latent symbol; the encoder clamps


@dataclass(frozen=True)
class Prediction:
    """What the entropy coder knows of y before it is coded, integers [B, latents, h, w]."""

    mean: Tensor  # of the scaled latents, in sixteenths
    index: Tensor  # of the table
    features: Tensor  # [B, hyper_width, h, w], what z tells the context model
    level: Tensor  # [B], of quality


class PsicNetwork(nn.Module):
    """The `psic-base` architecture; see the module docstring for the flow and design of each part in its own file."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        c = self.config = config
        self.g_a = Analysis(c)
        self.g_s: Synthesis = Synthesis(c) if c.own_synthesis else ConditionalSynthesis(c)
        self.g_p = ConditionalSynthesis(c) if c.own_synthesis else None
        self.guide = Guide(c.guide_steps) if c.guide else None
        self.h_a = HyperAnalysis(c.latents, c.hyper_width, c.hyper_latents)
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
            for part in self.real_parts()
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
        for part in network.real_parts():
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

    def give_own_synthesis(self) -> None:
        """Let all versions but the full one have the synthesis as it is, to become what they need at no cost to the
        full one.
        """
        assert isinstance(self.g_s, ConditionalSynthesis)
        self.g_p = self.g_s
        self.g_s = self._taking_over(Synthesis(self.config))
        self.config = replace(self.config, own_synthesis=True)

    def _taking_over(self, synthesis: AnySynthesis) -> AnySynthesis:
        """`synthesis` with the weights of g_s, CLTG's apart, as far as both have them."""
        weights = {key: value for key, value in self.g_s.state_dict().items() if not key.startswith("cltg.")}
        synthesis.load_state_dict(weights, strict=False)
        return synthesis.to(self.g_s.to_pixels.weight.device)

    def give_guide(self, guide: Guide) -> None:
        """Let the protected version be guided from now on."""
        self.guide = guide.to(next(self.parameters()).device)
        self.config = replace(self.config, guide=True)

    def forget_conditions(self) -> None:
        """Let every condition decode as the full version does."""
        self.g_p = self.guide = None
        self.config = replace(self.config, own_synthesis=False, guide=False)
        self.g_s = self._taking_over(ConditionalSynthesis(self.config))

    def steered(self) -> ConditionalSynthesis:
        """The synthesis that conditions steer: `g_p`, if there is one."""
        synthesis = self.g_p or self.g_s
        assert isinstance(synthesis, ConditionalSynthesis)
        return synthesis

    def synthesis_for(self, condition: Tensor) -> Synthesis:
        """What decodes conditions [B, 4]: `g_p`, if there is one, unless all of them ask for the full version."""
        return self.g_p if self.g_p is not None and bool(condition[:, :2].any()) else self.g_s

    def real_parts(self) -> list[str]:
        """Names of the parts that are stored as floats."""
        return ["g_a", "g_s", "h_a", *(part for part in ("g_p", "guide") if getattr(self, part) is not None)]

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

    def analyse(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in 0..1, sides multiples of 64, and qualities [B] in 0..1 -> y [B, latents, H/16, W/16],
        z [B, hyper_latents, H/64, W/64], both real.
        """
        if self.training:
            y = self.g_a(x, quality)
        else:
            columns, halo = x.shape[3] // STRIDE, self.g_a.view
            y = in_strips(lambda rows: self.g_a(rows, quality), x, row_unit=STRIDE, cell_columns=columns, halo=halo)
        return y, self.h_a(y, quality)

    def predict(self, z: Tensor, level: Tensor) -> Prediction:
        """Integer z [B, N, h/4, w/4] and levels [B] -> what is known of y before any of it is coded.

        The tensors' dtype is `integer_type`, z's too.
        """
        mean, index, features = self.h_s(z, level)
        scaled = scale_mean(mean, self.scaling.integer_gain(level))
        return Prediction(scaled, scale_index(index, self.scaling.index_offset(level)), features, level)

    def refine(self, prediction: Prediction, symbols: Tensor, step: int) -> Prediction:
        """The prediction for a coding step 1..3. symbols: [B, latents, h, w], read where public and of earlier steps.

        The mean of private latents stays what z tells: it stands for them where there is no key, and shall not tell
        more.
        """
        model, private = self.context_models()[step - 1], self.config.private
        if self.training:
            latents, height, width = prediction.mean.shape[1:]
            steps = step_of_each(latents, private, height, width, prediction.mean.device)
            public = (torch.arange(latents, device=steps.device) < self.config.public)[:, None, None]
            seen = symbols.to(prediction.mean.dtype) * (public & (steps < step))
            mean, index = model(seen, prediction.features, prediction.index, prediction.level)
            mean = prediction.mean + mean * (public & (steps == step))
            return replace(prediction, mean=mean, index=scale_index(prediction.index, index * (steps == step)))
        mean, index = prediction.mean.clone(), prediction.index.clone()
        for found in model.corrections(symbols, prediction.features, prediction.index, prediction.level, step, private):
            index[found.where] = scale_index(index[found.where], found.index)
            if found.mean is not None:
                mean[found.where] += found.mean
        return replace(prediction, mean=mean, index=index)

    def quantise(self, y: Tensor, mean: Tensor, level: Tensor) -> Tensor:
        """Real y and integer means -> the symbols that are coded, whole numbers [B, latents, h, w]. Encoder only."""
        return _rounded(self._scaled(y, level), mean)

    def unrounded(self, y: Tensor, mean: Tensor, level: Tensor) -> Tensor:
        """`quantise` without rounding: what an encoder looks at while it still moves y."""
        return self._scaled(y, level) - mean / 2**MEAN_BITS

    def _scaled(self, y: Tensor, level: Tensor) -> Tensor:
        return y * (self.scaling.integer_gain(level).to(y.dtype) / 2**GAIN_BITS)

    def code(self, y: Tensor, z: Tensor, level: Tensor) -> tuple[Tensor, Prediction]:
        """Real y and integer z -> the symbols of all coding steps, and what they are coded with. Encoder only."""
        prediction, public = self.predict(z, level), self.config.public
        scaled, symbols = self._scaled(y, level), torch.zeros_like(y)
        for step in range(STEPS):
            if step:
                prediction = self.refine(prediction, symbols, step)
            for where in turns(step, public):
                symbols[where] = _rounded(scaled[where], prediction.mean[where])
        symbols[:, public:] = _rounded(scaled[:, public:], prediction.mean[:, public:])
        return symbols, prediction

    def restore(self, symbols: Tensor, mean: Tensor, level: Tensor) -> Tensor:
        """Symbols (zero where unknown: then the mean itself) -> y_hat float [B, latents + private, h, w].

        Behind the latents stand the sealed symbols as they are: they tell the synthesis whether it has them.
        """
        y_hat = (symbols + mean / 2**MEAN_BITS) * self.scaling.inverse_gain(level)
        return torch.cat([y_hat, symbols[:, self.config.public :]], dim=1)

    def beyond(self, y: Tensor, y_hat: Tensor, level: Tensor) -> Tensor:
        """How far real y lies from y_hat of the same picture or another, in steps of a level: [B, latents, h, w]."""
        return self._scaled(y, level) - y_hat[:, : self.config.latents] / self.scaling.inverse_gain(level)

    def refined(self, y_hat: Tensor, distance: Tensor, sealed: Tensor, level: Tensor) -> Tensor:
        """y_hat, and that distance from it, in steps of a level [B, latents, h, w], as one y_hat.

        sealed: [B, private, h, w], what tells the synthesis that it has the sealed latents.
        """
        moved = y_hat[:, : self.config.latents] + distance * self.scaling.inverse_gain(level)
        return torch.cat([moved, sealed], dim=1)

    def picture(self, y_hat: Tensor, condition: Tensor, height: int, width: int) -> Tensor:
        """y_hat and conditions [B, 4] (see cltg.Condition) -> x_hat [B, 3, height, width], not clamped."""
        if not is_protected(condition):
            return self.synthesise(y_hat, condition)[..., :height, :width]
        x_hat = self.synthesise(y_hat, of_full(condition))[..., :height, :width].float()
        return x_hat.add_(self.shield(y_hat, x_hat, condition)[0])  # in place: it may be large

    def shield(self, y_hat: Tensor, x_hat: Tensor, condition: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the protected version of y_hat adds to its full one x_hat [B, 3, H, W], of the same shape; and what it
        was on thumbnails if the pictures are large.
        """
        if is_large(min(x_hat.shape[-2:])):
            small = self.draw_shield(x_hat, condition)
            return enlarged(small, *x_hat.shape[-2:]), small
        return self.guided(self.drawn(y_hat, x_hat, condition), x_hat, condition), None

    def drawn(self, y_hat: Tensor, x_hat: Tensor, condition: Tensor) -> Tensor:
        """How the protected version of y_hat differs from its full one x_hat [B, 3, H, W], as far as the shield's
        strength asks for it: [B, 3, H, W].
        """
        protected = self.synthesise(y_hat, at_full_strength(condition))[..., : x_hat.shape[2], : x_hat.shape[3]]
        return share_drawn(condition) * (protected.float() - x_hat)

    def draw_shield(self, x: Tensor, condition: Tensor) -> Tensor:
        """What protects large pictures [B, 3, H, W], to be enlarged and added to them: [B, 3, h, w], the shorter side
        is THUMBNAIL.

        A vision-language model shrinks a photo to a few hundred pixels before it looks: patterns as fine as those that
        a synthesis draws into a small picture would be lost on the way, and only people would see them. So they are
        drawn into a thumbnail. Its latents are not rounded: two machines must not differ by a step.
        """
        small = thumbnail(x)
        y = self.analyse(pad_to_multiple(small, PICTURE_MULTIPLE), condition[:, QUALITY])[0].float()
        y_hat = torch.cat([y, torch.zeros_like(y[:, self.config.public :])], dim=1)
        full = self.synthesise(y_hat, of_full(condition))[..., : small.shape[2], : small.shape[3]].float()
        return self.guided(self.drawn(y_hat, full, condition), small, condition)

    def guided(self, drawn: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        """What a synthesis has drawn on pictures x, with the guide's steps if there is one: [B, 3, H, W] each."""
        if self.guide is None:
            return drawn
        return drawn + self.guide(x + drawn, x, condition)

    def synthesise(self, y_hat: Tensor, condition: Tensor) -> Tensor:
        """y_hat and conditions [B, 4] (see cltg.Condition) -> x_hat [B, 3, H, W], not clamped."""
        synthesis = self.synthesis_for(condition)
        if self.training:
            return synthesis(y_hat, condition)  # type: ignore[no-any-return]
        biases = synthesis.biases(condition)
        columns, halo = y_hat.shape[3], synthesis.view
        return in_strips(lambda rows: synthesis.paint(rows, biases), y_hat, 1, cell_columns=columns, halo=halo)


def _rounded(scaled: Tensor, mean: Tensor) -> Tensor:
    """Scaled latents and their means, in sixteenths -> symbols."""
    return torch.round(scaled - mean.to(scaled.dtype) / 2**MEAN_BITS).clamp_(-SYMBOL_MAX, SYMBOL_MAX)


def is_protected(condition: Tensor) -> bool:
    """Whether conditions [B, 4] ask for a shield."""
    return bool(condition[:, 0].any()) and not bool(condition[:, 1].any())
