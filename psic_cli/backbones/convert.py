"""A trained network of CompressAI becomes one of psic: everything that decides a table becomes integers.

    state dict, pictures --> transforms as they are; hyper-decoder and context model in integers, in units of what the
                             pictures make of them; tables of the densities, and of what was counted on the pictures

Start with `convert`. What comes out is written as a model folder by commands/models.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psic_cli.backbones import architectures
from psic_cli.backbones.adapted import CONTEXT, SIGMA_BITS, Adapted, Sizes, Told, context_of
from psic_cli.backbones.architectures import CHEQUERBOARD, FACTORIZED, H_S, JOINED, MEAN, SCALE, SIGNED
from psic_cli.backbones.density import Density, density_of
from psic_cli.backbones.integers import (
    HIDDEN,
    OUTPUTS,
    SYMBOLS,
    Activation,
    IntegerChain,
    Reach,
    RealLayer,
    make_exact,
    upsampling,
)
from psic_cli.bitstream.tables import N_SCALES, SCALES, symbol_tables, tables_from_probabilities, without_tails
from psic_cli.networks.backbone import LAMBDAS, MEAN_BITS, Z_MAX, clamp_z

MARGIN = 1.25  # how much further than on the pictures an activation may reach
LEAST_SHARE = 0.02  # of a layer's reach, that each channel has: one that was silent on the pictures may speak on others
COUNTED = 600  # magnitudes: as many as the widest table has
Y_MAX = 2**11  # of a symbol in a factorised table
NOISY = 0.5  # least scale of a latent that is asked what a step costs
PEDESTAL = 2.0**-36  # of CompressAI's GDN: a stored root r stands for r^2 - PEDESTAL
BETA_MIN = 1e-6
SEED = 1


@dataclass(frozen=True)
class Converted:
    """What a model folder holds. network: as the card says it."""

    tensors: dict[str, Tensor]
    network: dict[str, Any]


@torch.no_grad()
def convert(name: str, state: dict[str, Tensor], pictures: Sequence[Tensor]) -> Converted:
    """state: of an architecture, as checkpoint.read_checkpoint gives it. pictures: [1, 3, H, W] in 0..1, sides
    multiples of 64, of the kind that will be coded.

    KeyError, RuntimeError or ValueError for tensors that do not fit, and for what cannot be made exact.
    """
    sizes = _sizes(name, state)
    tensors = {**_transform(state, "g_a"), **_transform(state, "g_s")}
    if name == FACTORIZED:
        tensors |= _factorised(density_of(state, "entropy_bottleneck"))
    else:
        hyper = "latent_codec.hyper." if name == CHEQUERBOARD else ""
        density = density_of(state, f"{hyper}entropy_bottleneck")
        tensors |= _transform(state, f"{hyper}h_a")
        # What is rounded is z without its medians.
        last = max(key for key in tensors if key.startswith("h_a.") and key.endswith(".bias"))
        tensors[last] = (tensors[last].double() - density.medians).float()
        tensors |= _z_tables(density) | _y_tables(np.zeros((N_SCALES, COUNTED + 1)))
        tensors["thresholds"] = _thresholds()
        tensors |= _integers(name, state, f"{hyper}h_s", density, tensors, sizes, pictures)
    network = architectures.read(architectures.SOURCE + name, asdict(sizes), tensors)
    coded = [_code(network, x) for x in pictures]
    if name != FACTORIZED:
        tensors |= _y_tables(sum(_counts(symbols, told.index) for symbols, told in coded))
    sizes = Sizes(**(asdict(sizes) | {"quality": _quality(network, coded)}))
    return Converted({key: value.contiguous() for key, value in tensors.items()}, asdict(sizes))


def _sizes(name: str, state: dict[str, Tensor]) -> Sizes:
    if name == CHEQUERBOARD:
        width = len(state["g_a.6.weight"])
        return Sizes(width, width, width, 0.5)
    width, latents = len(state["g_a.0.weight"]), len(state["g_a.6.weight"])
    return Sizes(width, latents, 0 if name == FACTORIZED else width, 0.5)


def _transform(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights of a transform, those of GDN as what they stand for."""
    name, tensors = prefix.rpartition(".")[2], {}
    for key, value in state.items():
        if not key.startswith(prefix + ".") or "_reparam" in key:
            continue
        if key.endswith((".beta", ".gamma")):
            least = BETA_MIN if key.endswith(".beta") else 0.0
            value = value.double().clamp_min((least + PEDESTAL) ** 0.5).square() - PEDESTAL
        tensors[name + key[len(prefix) :]] = value.float()
    return tensors


def _tables(prefix: str, tables: Any) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array.copy()) for key, array in tables.to_arrays(prefix).items()}


def _z_tables(density: Density) -> dict[str, Tensor]:
    values = torch.arange(-Z_MAX, Z_MAX + 1) + density.medians[:, None]
    rows = [without_tails(row, -Z_MAX) for row in density.probabilities(values)]
    return _tables("tables.z", tables_from_probabilities(rows))


def _y_tables(counts: Any) -> dict[str, Tensor]:
    return _tables("tables.y", symbol_tables(counts))


def _factorised(density: Density) -> dict[str, Tensor]:
    """Means, tables, and the scales of these. There is no z: its one table is never used."""
    mean = (density.medians * 2**MEAN_BITS).round()
    symbols = torch.arange(-Y_MAX, Y_MAX + 1)
    rows = density.probabilities(symbols + mean[:, None] / 2**MEAN_BITS)
    tables = tables_from_probabilities([without_tails(row, -Y_MAX) for row in rows])
    squares = (rows * symbols.numpy() ** 2).sum(1) / rows.sum(1)
    nearest = np.abs(np.log(np.sqrt(squares.clip(SCALES[0] ** 2)))[:, None] - np.log(SCALES)).argmin(1)
    return {
        "mean": mean.int(),
        "of_tables": torch.from_numpy(nearest).to(torch.uint8),
        **_tables("tables.y", tables),
        **_tables("tables.z", tables_from_probabilities([(0, np.ones(1))])),
    }


def _thresholds() -> Tensor:
    """Between neighbouring scales, half way on a log scale, in units of 2^-8: an index is how many a scale reaches."""
    return torch.from_numpy(np.ceil(np.sqrt(SCALES[:-1] * SCALES[1:]) * 2**SIGMA_BITS)).int()


def _integers(
    name: str,
    state: dict[str, Tensor],
    h_s: str,
    density: Density,
    tensors: dict[str, Tensor],
    sizes: Sizes,
    pictures: Sequence[Tensor],
) -> dict[str, Tensor]:
    """The tensors of all that decides a table."""
    g_a, h_a = architectures.analysis(name, sizes), architectures.hyper_analysis(name, sizes)
    for module, part in ((g_a.layers, "g_a"), (h_a, "h_a")):
        module.load_state_dict({k[len(part) + 1 :]: v for k, v in tensors.items() if k.startswith(part + ".")})
    ys = [g_a(x) for x in pictures]
    zs = [clamp_z(h_a(y.abs() if name == SCALE else y)) for y in ys]
    seen = [torch.cat([z, torch.ones_like(z[:, :1])], dim=1) for z in zs]
    first, *others = _real_layers(name, state, h_s)
    medians = torch.einsum("oiab,i->oab", first.weight.double(), density.medians)
    with_ones = torch.cat([first.weight, medians[:, None].float()], dim=1)
    layers = [replace(first, weight=with_ones), *others]
    scale_units, mean_units = (torch.full((sizes.latents,), 2.0**-bits) for bits in (SIGMA_BITS, MEAN_BITS))
    output_units = scale_units if name == SCALE else torch.cat([scale_units, mean_units])
    ones = torch.ones(sizes.hyper_latents + 1)
    if name != CHEQUERBOARD:
        chain, _ = _calibrated(layers, seen, ones, SYMBOLS, output_units, OUTPUTS)
        return chain.to_tensors("h_s")
    chain, side_units = _calibrated(layers, seen, ones, SYMBOLS, None, SIGNED)
    near, joined = _context_layers(state)
    sides, knowns = [_through(layers, x) for x in seen], []
    for y, side in zip(ys, sides, strict=True):
        told = _through(joined, torch.cat([torch.zeros_like(side), side], dim=1))
        mean = told[:, sizes.latents :]
        even = _even(y)
        knowns.append(((y - mean).round() + mean) * even)
    most = torch.stack([known.abs().amax((0, 2, 3)) for known in knowns]).amax(0) * 2**MEAN_BITS * MARGIN
    finest = (most / CONTEXT.high).clamp_min(1).log2().ceil().clamp_max(16)
    units = 2**finest / 2**MEAN_BITS
    contexts = [context_of((known * 2**MEAN_BITS).round(), finest) * units[:, None, None] for known in knowns]
    near_chain, near_units = _calibrated([near], contexts, units, CONTEXT, None, SIGNED)
    both = [
        torch.cat([_through([near], context) * (1 - _even(side)), side], dim=1)
        for context, side in zip(contexts, sides, strict=True)
    ]
    joined_chain, _ = _calibrated(joined, both, torch.cat([near_units, side_units]), SIGNED, output_units, OUTPUTS)
    return {
        **chain.to_tensors("h_s"),
        **near_chain.to_tensors("near"),
        **joined_chain.to_tensors("joined"),
        "finest": finest.to(torch.uint8),
    }


def _real_layers(name: str, state: dict[str, Tensor], h_s: str) -> list[RealLayer]:
    """h_s as it was trained."""
    places = {CHEQUERBOARD: ("0", "2.0", "4", "6.0", "8")}.get(name, ("0", "2", "4"))
    layers = []
    for place, kind in zip(places, H_S[name], strict=True):
        weight, bias = state[f"{h_s}.{place}.weight"], state[f"{h_s}.{place}.bias"]
        if kind.shuffle > 1 and name in (SCALE, MEAN):
            layers.append(upsampling(weight, bias, kind.activation))
        else:
            layers.append(RealLayer(weight, bias, kind.activation, kind.shuffle))
    if name == SCALE:  # ends with ReLU, which the smallest scale makes needless
        assert layers[-1].activation is Activation.NONE
    return layers


def _context_layers(state: dict[str, Tensor]) -> tuple[RealLayer, list[RealLayer]]:
    """The chequerboard's 5x5 over known latents, and the three 1x1 behind it."""
    weight = state["latent_codec.y.context_prediction.weight"]
    place = torch.arange(weight.shape[2])
    odd = (place[:, None] + place).remainder(2)  # an even distance is not known yet
    near = RealLayer(weight * odd, state["latent_codec.y.context_prediction.bias"])
    names = [f"latent_codec.y.entropy_parameters.{n}" for n in (0, 2, 4)]
    joined = [
        RealLayer(state[f"{name}.weight"], state[f"{name}.bias"], kind.activation)
        for name, kind in zip(names, JOINED, strict=True)
    ]
    return near, joined


def _through(layers: Sequence[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
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
        try:
            chain.append(make_exact(layer, units, reach, own_units, own))
        except ValueError as error:
            raise ValueError(f"layer {number}: {error}") from None
        reach, units = own, own_units
    return IntegerChain(chain, first_reach), units


def _code(network: Adapted, x: Tensor) -> tuple[Tensor, Told]:
    """Symbols, and what they are coded with."""
    level = torch.zeros(1, dtype=torch.long)
    y, z = network.analyse(x, network.quality(level))
    return network.code(y, clamp_z(z), level)


def _counts(symbols: Tensor, index: Tensor) -> np.ndarray:
    """How often each magnitude comes with each scale: [N_SCALES, COUNTED + 1]."""
    places = index.long() * (COUNTED + 1) + symbols.abs().clamp_max(COUNTED).long()
    counted = torch.bincount(places.flatten(), minlength=N_SCALES * (COUNTED + 1))
    return counted.view(N_SCALES, COUNTED + 1).double().numpy()  # type: ignore[no-any-return]


def _quality(network: Adapted, coded: Sequence[tuple[Tensor, Told]]) -> float:
    """At which quality, 0..1, a network seems to have been trained: that at which steps of 1 are as large as they
    should be, by what they cost the picture.

    With an error of E for a step, rounding costs E / 12 a latent, and halving it one bit: weight = 6 / (ln 2 * E).
    """
    generator = torch.Generator().manual_seed(SEED)
    condition = torch.zeros(1, 4)
    error, count = 0.0, 0
    for symbols, told in coded:
        y_hat = network.restore(symbols, told.mean.float(), torch.zeros(1))
        noisy = torch.from_numpy(SCALES)[network.spread(told.index)] >= NOISY
        step = torch.randint(0, 2, y_hat.shape, generator=generator) * 2.0 - 1
        moved = network.synthesise(y_hat + step * noisy, condition) - network.synthesise(y_hat, condition)
        error, count = error + moved.square().sum().item(), count + int(noisy.sum())
    if not error > 0 or not math.isfinite(error):
        return 0.5
    low, high = LAMBDAS
    lmbda = 6 / math.log(2) * count / error * 3 / 255**2
    return min(1.0, max(0.0, math.log(lmbda / low) / math.log(high / low)))
