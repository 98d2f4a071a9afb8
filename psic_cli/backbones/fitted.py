"""What decides a table, in integers: in units of what pictures make of a trained network.

Start with `integers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from psic_cli.backbones import architectures
from psic_cli.backbones.adapted import SIGMA_BITS, Sizes
from psic_cli.backbones.architectures import (
    BEFORE,
    CHANDELIER,
    CHEQUERBOARD,
    GROUPED,
    H_S,
    JOINED,
    OFFICIAL,
    SCALE,
    SCALE_VBR,
    SIGNED,
    seen_by,
)
from psic_cli.backbones.density import Density
from psic_cli.backbones.gains import Levels
from psic_cli.backbones.grouped import CONTEXT, context_of, half
from psic_cli.backbones.integers import (
    HIDDEN,
    OUTPUTS,
    IntegerChain,
    LayerKind,
    Reach,
    RealLayer,
    least_units,
    make_exact,
    upsampling,
)
from psic_cli.backbones.variable import reach_of
from psic_cli.networks.backbone import MEAN_BITS, clamp_z

MARGIN = 1.25  # how much further than on the pictures an activation may reach
LEAST_SHARE = 0.02  # of a layer's reach, that each channel has: one that was silent on the pictures may speak on others
Layers = Sequence[Callable[[Tensor], Tensor]]


def integers(
    name: str,
    state: dict[str, Tensor],
    h_s: str,
    density: Density,
    levels: Levels,
    tensors: dict[str, Tensor],
    sizes: Sizes,
    pictures: Sequence[Tensor],
) -> dict[str, Tensor]:
    """The tensors of all that decides a table. h_s: its name in the state. tensors: those of g_a and h_a."""
    g_a, h_a = architectures.analysis(name, sizes), architectures.hyper_analysis(name, sizes)
    for module, part in ((g_a.layers, "g_a"), (h_a, "h_a")):
        module.load_state_dict({k[len(part) + 1 :]: v for k, v in tensors.items() if k.startswith(part + ".")})
    ys = [g_a(x) for x in pictures]
    magnitudes = name in (SCALE, SCALE_VBR)
    reach = reach_of(levels.z_steps)
    real_zs = [h_a(y.abs() if magnitudes else y) for y in ys]
    zs = [
        (clamp_z(z / step) * step).clamp(reach.low, reach.high)
        for step in sorted(set(levels.z_steps.tolist()))
        for z in real_zs
    ]
    seen = [torch.cat([z, torch.ones_like(z[:, :1])], dim=1) for z in zs]
    first, *others = _hyper_layers(name, state, h_s)
    medians = torch.einsum("oiab,i->oab", first.weight.double(), density.medians)
    with_ones = torch.cat([first.weight / levels.z_units, medians[:, None].float()], dim=1)
    layers = [replace(first, weight=with_ones), *others]
    ones = torch.ones(sizes.hyper_latents + 1)
    if name not in GROUPED:
        units = _output_units(sizes.latents)[: sizes.latents if magnitudes else None]
        return _calibrated(layers, seen, ones, reach, units, OUTPUTS)[0].to_tensors("h_s")
    chain, side_units = _calibrated(layers, seen, ones, reach, None, SIGNED)
    sides = [_through(layers, x) for x in seen]
    return {**chain.to_tensors("h_s"), **_grouped(name, state, ys, sides, side_units)}


def _output_units(latents: int) -> Tensor:
    """Of scales and means, [2 * latents]."""
    return torch.tensor([2.0**-SIGMA_BITS, 2.0**-MEAN_BITS]).repeat_interleave(latents)


def _hyper_layers(name: str, state: dict[str, Tensor], h_s: str) -> list[RealLayer]:
    """h_s as it was trained. That of bmshj2018-hyperprior ends with ReLU, which the smallest scale makes needless."""
    places = ("0", "2.0", "4", "6.0", "8") if name == CHEQUERBOARD else ("0", "2", "4")
    layers = []
    for place, kind in zip(places, H_S[name], strict=True):
        weight, bias = state[f"{h_s}.{place}.weight"], state[f"{h_s}.{place}.bias"]
        if kind.shuffle > 1 and name != CHEQUERBOARD:
            layers.append(upsampling(weight, bias, kind.activation))
        elif name == OFFICIAL:  # a transposed convolution of stride 1
            layers.append(RealLayer(weight.transpose(0, 1).flip(2, 3), bias, kind.activation))
        else:
            layers.append(RealLayer(weight, bias, kind.activation, kind.shuffle))
    return layers


@dataclass(frozen=True)
class _RealGroup:
    """A group's layers as they were trained: see grouped.Grouped."""

    channels: slice
    seen: list[slice]
    before: list[RealLayer]
    near: RealLayer
    joined: list[RealLayer]


def _real_groups(name: str, state: dict[str, Tensor]) -> list[_RealGroup]:
    of_y, groups = "latent_codec.y.", []
    parts = [of_y] if name == CHEQUERBOARD else [f"{of_y}latent_codec.y{k}." for k in range(len(group_sizes(state)))]
    channels: list[slice] = []
    for number, part in enumerate(parts):
        weight, bias = (state[f"{part}context_prediction.{key}"] for key in ("weight", "bias"))
        place = torch.arange(weight.shape[2])
        odd = (place[:, None] + place).remainder(2)  # an even distance is not known yet
        near = RealLayer(weight * odd, bias)
        start = channels[-1].stop if channels else 0
        channels.append(slice(start, start + weight.shape[1]))
        seen = seen_by(name, channels, number)
        before = _layers(state, f"{of_y}channel_context.y{number}", BEFORE) if seen else []
        *hidden, last = _layers(state, f"{part}entropy_parameters", JOINED[name])
        if name == CHANDELIER:  # has means first
            weight, bias = (torch.cat(t.chunk(2)[::-1]) for t in (last.weight, last.bias))
            last = RealLayer(weight, bias)
        groups.append(_RealGroup(channels[-1], seen, before, near, [*hidden, last]))
    return groups


def group_sizes(state: dict[str, Tensor]) -> list[int]:
    """Latents in each group of a checkpoint of ELIC's."""
    name = "latent_codec.y.latent_codec.y{}.context_prediction.weight"
    count = sum(key.endswith(".context_prediction.weight") for key in state)
    return [state[name.format(number)].shape[1] for number in range(count)]


def _layers(state: dict[str, Tensor], name: str, kinds: list[LayerKind]) -> list[RealLayer]:
    """Convolutions with activations between them."""
    weights = [(state[f"{name}.{2 * n}.weight"], state[f"{name}.{2 * n}.bias"]) for n in range(len(kinds))]
    return [RealLayer(*pair, kind.activation) for pair, kind in zip(weights, kinds, strict=True)]


def _grouped(
    name: str, state: dict[str, Tensor], ys: list[Tensor], sides: list[Tensor], side_units: Tensor
) -> dict[str, Tensor]:
    """All behind h_s. sides: what h_s, real, gives, in units [C] as an integer."""
    groups = _real_groups(name, state)
    knowns = [_decoded(groups, y, side) for y, side in zip(ys, sides, strict=True)]
    most = torch.stack([known.abs().amax((0, 2, 3)) for known in knowns]).amax(0) * 2**MEAN_BITS * MARGIN
    finest = (most / CONTEXT.high).clamp_min(1).log2().ceil().clamp_max(16)
    units = 2**finest / 2**MEAN_BITS
    contexts = [context_of((known * 2**MEAN_BITS).round(), finest) * units[:, None, None] for known in knowns]
    tensors = {"finest": finest.to(torch.uint8)}
    for number, group in enumerate(groups):
        even = [_even(y) for y in ys]
        firsts = [context[:, group.channels] * first for context, first in zip(contexts, even, strict=True)]
        near, near_units = _calibrated([group.near], firsts, units[group.channels], CONTEXT, None, SIGNED)
        tensors |= near.to_tensors(f"near{number}")
        parts = [[group.near(x) * (1 - first) for x, first in zip(firsts, even, strict=True)]]
        all_units = [near_units]
        if group.seen:
            seen = [torch.cat([context[:, part] for part in group.seen], dim=1) for context in contexts]
            seen_units = torch.cat([units[part] for part in group.seen])
            before, before_units = _calibrated(group.before, seen, seen_units, CONTEXT, None, SIGNED)
            tensors |= before.to_tensors(f"before{number}")
            parts.append([_through(group.before, x) for x in seen])
            all_units.append(before_units)
        inputs = [torch.cat(of_picture, dim=1) for of_picture in zip(*parts, sides, strict=True)]
        latents = group.channels.stop - group.channels.start
        joined_units = torch.cat([*all_units, side_units])
        joined, _ = _calibrated(group.joined, inputs, joined_units, SIGNED, _output_units(latents), OUTPUTS)
        tensors |= joined.to_tensors(f"joined{number}")
    return tensors


def _decoded(groups: list[_RealGroup], y: Tensor, side: Tensor) -> Tensor:
    """y_hat as the trained network would have it, [B, latents, h, w]."""
    y_hat = torch.zeros_like(y)
    for group in groups:
        own, context = y[:, group.channels], [side]
        if group.seen:
            context.insert(0, _through(group.before, torch.cat([y_hat[:, part] for part in group.seen], dim=1)))
        for parity in range(2):
            around = group.near(y_hat[:, group.channels]) * parity
            mean = _through(group.joined, torch.cat([around, *context], dim=1))[:, own.shape[1] :]
            known = (own - mean).round() + mean
            for where in half(parity):
                y_hat[:, group.channels][where] = known[where]
    return y_hat


def _through(layers: Layers, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _even(x: Tensor) -> Tensor:
    """1 where row + column is even: [h, w]."""
    row, column = (torch.arange(n) for n in x.shape[2:])
    return 1.0 - (row[:, None] + column).remainder(2)


def _calibrated(
    layers: list[RealLayer],
    inputs: list[Tensor],
    input_units: Tensor,
    reach: Reach,
    output_units: Tensor | None,
    output_reach: Reach,
) -> tuple[IntegerChain, Tensor]:
    """Layers in integers, and the units of the last one's outputs: those given, or what the inputs, real, ask for."""
    chain, real = [], inputs
    first_reach, units = reach, input_units
    for number, layer in enumerate(layers):
        real = [layer(x) for x in real]
        is_last = number == len(layers) - 1
        own = output_reach if is_last else HIDDEN[layer.activation]
        if is_last and output_units is not None:
            own_units = output_units
        else:
            most = torch.stack([x.abs().amax((0, 2, 3)) for x in real]).amax(0)
            own_units = most.maximum(LEAST_SHARE * most.max()).clamp_min(1e-6) * MARGIN / own.high
            own_units = own_units.maximum(least_units(layer, units, reach).to(own_units.dtype))
        try:
            chain.append(make_exact(layer, units, reach, own_units, own))
        except ValueError as error:
            raise ValueError(f"layer {number}: {error}") from None
        reach, units = own, own_units
    return IntegerChain(chain, first_reach), units
