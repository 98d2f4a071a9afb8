"""A trained network of CompressAI becomes one of psic: everything that decides a table becomes integers.

    state dict, pictures --> transforms as they are; hyper-decoder and context model in integers, in units of what the
                             pictures make of them; tables of the densities, and of what was counted on the pictures

Start with `convert`; fitted.py makes the integers. What comes out is written as a model folder by commands/models.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psic_cli.backbones import architectures, fitted
from psic_cli.backbones.adapted import SIGMA_BITS, Adapted, Sizes, Told
from psic_cli.backbones.architectures import CHEQUERBOARD, ELIC, FACTORIZED, GROUPED, VARIABLE
from psic_cli.backbones.density import Density, density_of
from psic_cli.backbones.gains import ONE_LEVEL, Levels, levels_of
from psic_cli.bitstream.tables import N_SCALES, SCALES, symbol_tables, tables_from_probabilities, without_tails
from psic_cli.networks.backbone import LAMBDAS, MEAN_BITS, Z_MAX, clamp_z

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
    levels = levels_of(state) if name in VARIABLE else ONE_LEVEL
    sizes = _sizes(name, state, levels)
    tensors = {**_transform(state, "g_a"), **_transform(state, "g_s")}
    if name == FACTORIZED:
        tensors |= _factorised(density_of(state, "entropy_bottleneck"))
    else:
        hyper = "latent_codec.hyper." if name in GROUPED else ""
        density = density_of(state, f"{hyper}entropy_bottleneck")
        tensors |= _transform(state, f"{hyper}h_a")
        # What is rounded is z without its medians, in units of its steps.
        last = max(key for key in tensors if key.startswith("h_a.") and key.endswith(".bias"))
        tensors[last] = ((tensors[last].double() - density.medians) * levels.z_units).float()
        weight = last.replace("bias", "weight")
        tensors[weight] = tensors[weight] * levels.z_units
        tensors |= _z_tables(density, levels) | _y_tables(np.zeros((N_SCALES, COUNTED + 1)))
        tensors["thresholds"] = _thresholds()
        tensors |= fitted.integers(name, state, f"{hyper}h_s", density, levels, tensors, sizes, pictures)
    if name in VARIABLE:
        tensors |= levels.tensors()
    network = architectures.read(architectures.SOURCE + name, asdict(sizes), tensors)
    coded = [of_level for x in pictures for of_level in _code(network, x)]
    if name != FACTORIZED:
        tensors |= _y_tables(sum(_counts(one.symbols, one.told.index) for one in coded))
    middle = [one for one in coded if one.level.item() == network.levels // 2]
    sizes = replace(sizes, quality=_quality(network, middle))
    return Converted({key: value.contiguous() for key, value in tensors.items()}, asdict(sizes))


def _sizes(name: str, state: dict[str, Tensor], levels: Levels) -> Sizes:
    if name == CHEQUERBOARD:
        width = len(state["g_a.6.weight"])
        return Sizes(width, width, width, 0.5)
    width, latents = len(state["g_a.0.weight"]), len(state["g_a.13.weight" if name in ELIC else "g_a.6.weight"])
    return Sizes(width, latents, 0 if name == FACTORIZED else width, 0.5, span=levels.span)


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


def _z_tables(density: Density, levels: Levels) -> dict[str, Tensor]:
    symbols, rows = torch.arange(-Z_MAX, Z_MAX + 1), []
    for step in (levels.z_steps / levels.z_units).tolist():
        values = symbols * step + density.medians[:, None]
        rows += [without_tails(row, -Z_MAX) for row in density.probabilities(values, step)]
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


@dataclass(frozen=True)
class _Coded:
    """A picture at a level [1]: its symbols, and what they are coded with."""

    level: Tensor
    symbols: Tensor
    told: Told


def _code(network: Adapted, x: Tensor) -> list[_Coded]:
    """At the lowest level, the middle one, the highest, and between them."""
    found: list[_Coded] = []
    for number in sorted({k * (network.levels - 1) // 4 for k in (0, 1, 3, 4)} | {network.levels // 2}):
        level = torch.tensor([number])
        if not found:
            y, _ = network.analyse(x, network.quality(level))
        z = clamp_z(network.side_information(y, network.quality(level)))
        found.append(_Coded(level, *network.code(network.scale(y, level), z, level)))
    return found


def _counts(symbols: Tensor, index: Tensor) -> np.ndarray:
    """How often each magnitude comes with each scale: [N_SCALES, COUNTED + 1]."""
    places = index.long() * (COUNTED + 1) + symbols.abs().clamp_max(COUNTED).long()
    counted = torch.bincount(places.flatten(), minlength=N_SCALES * (COUNTED + 1))
    return counted.view(N_SCALES, COUNTED + 1).double().numpy()  # type: ignore[no-any-return]


def _quality(network: Adapted, coded: Sequence[_Coded]) -> float:
    """At which quality, 0..1, a network seems to have been trained: that at which its steps are as large as they
    should be, by what they cost the picture.

    With an error of E for a step, rounding costs E / 12 a latent, and halving it one bit: weight = 6 / (ln 2 * E).
    """
    generator = torch.Generator().manual_seed(SEED)
    condition = torch.zeros(1, 4)
    error, count = 0.0, 0
    for one in coded:
        y_hat = network.restore(one.symbols, one.told, one.level)
        noisy = torch.tensor(SCALES)[network.spread(one.told.index)] >= NOISY
        signs = torch.randint(0, 2, y_hat.shape, generator=generator) * 2.0 - 1
        step = network.unscale(signs * noisy, one.level)
        moved = network.synthesise(y_hat + step, condition) - network.synthesise(y_hat, condition)
        error, count = error + moved.square().sum().item(), count + int(noisy.sum())
    if not error > 0 or not math.isfinite(error):
        return 0.5
    low, high = LAMBDAS
    lmbda = 6 / math.log(2) * count / error * 3 / 255**2
    return min(1.0, max(0.0, math.log(lmbda / low) / math.log(high / low)))
