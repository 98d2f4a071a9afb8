"""The networks that can be added, and what a model folder holds of each.

Start with `read`, which builds one from its tensors; convert.py makes these tensors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from psic_cli.backbones import transforms
from psic_cli.backbones.adapted import Adapted, Factorized, Hyperprior, Sizes
from psic_cli.backbones.grouped import CONTEXT, Group, Grouped
from psic_cli.backbones.integers import HIDDEN, OUTPUTS, SYMBOLS, Activation, LayerKind, read_chain
from psic_cli.backbones.transforms import Transform
from psic_cli.backbones.variable import Variable, reach_of
from psic_cli.bitstream.tables import N_SCALES
from psic_cli.networks.backbone import STRIDE
from psic_cli.networks.cltg import ConditionalLatentTriggerGenerator

SOURCE = "compressai:"  # before the name of an architecture, in a model's card
WEIGHTS_VERSION = 2  # of the tensors' names and meaning, bitstream/FORMAT.md section 10; rises with any change of bits
FACTORIZED, SCALE, MEAN, CHEQUERBOARD, OFFICIAL, CHANDELIER, SCALE_VBR, MEAN_VBR = NAMES = (
    "bmshj2018-factorized",
    "bmshj2018-hyperprior",
    "mbt2018-mean",
    "cheng2020-anchor-checkerboard",
    "elic2022-official",
    "elic2022-chandelier",
    "bmshj2018-hyperprior-vbr",
    "mbt2018-mean-vbr",
)
ELIC = (OFFICIAL, CHANDELIER)
GROUPED = (CHEQUERBOARD, *ELIC)
VARIABLE = {SCALE_VBR: SCALE, MEAN_VBR: MEAN}  # and what each is but for its gains
# Latents: four 5x5 at half the side each; the residual blocks of cheng_synthesis; the attention of elic_synthesis
BALLE_VIEW, CHENG_VIEW, ELIC_VIEW = 2, 7, 9

_RELU, _LEAKY = (LayerKind(act) for act in (Activation.RELU, Activation.LEAKY))
_RELU_UP, _LEAKY_UP = (LayerKind(act, shuffle=2) for act in (Activation.RELU, Activation.LEAKY))
H_S = {
    SCALE: [_RELU_UP, _RELU_UP, LayerKind()],
    MEAN: [_LEAKY_UP, _LEAKY_UP, LayerKind()],
    CHEQUERBOARD: [_LEAKY, _LEAKY_UP, _LEAKY, _LEAKY_UP, LayerKind()],
    OFFICIAL: [_RELU_UP, _RELU_UP, LayerKind()],
    CHANDELIER: [_RELU_UP, _RELU_UP, LayerKind()],
}
H_S |= {name: H_S[alike] for name, alike in VARIABLE.items()}
BEFORE = [_RELU, _RELU, LayerKind()]
JOINED = {CHEQUERBOARD: [_LEAKY, _LEAKY, LayerKind()], OFFICIAL: BEFORE, CHANDELIER: BEFORE}
SIGNED = HIDDEN[Activation.NONE]  # what those give that `joined` joins


def analysis(name: str, sizes: Sizes) -> Transform:
    """An untrained g_a."""
    if name == CHEQUERBOARD:
        return Transform(transforms.cheng_analysis(sizes.width), STRIDE, CHENG_VIEW)
    if name in ELIC:
        return Transform(transforms.elic_analysis(sizes.width, sizes.latents), STRIDE, ELIC_VIEW)
    return Transform(transforms.balle_analysis(sizes.width, sizes.latents), STRIDE, BALLE_VIEW)


def synthesis(name: str, sizes: Sizes) -> Transform:
    """An untrained g_s."""
    if name == CHEQUERBOARD:
        return Transform(transforms.cheng_synthesis(sizes.width), 1, CHENG_VIEW)
    if name in ELIC:
        return Transform(transforms.elic_synthesis(sizes.width, sizes.latents), 1, ELIC_VIEW)
    return Transform(transforms.balle_synthesis(sizes.width, sizes.latents), 1, BALLE_VIEW)


def hyper_analysis(name: str, sizes: Sizes) -> nn.Sequential:
    """An untrained h_a."""
    if name == CHEQUERBOARD:
        return transforms.cheng_hyper_analysis(sizes.width)
    return transforms.balle_hyper_analysis(sizes.latents, sizes.width, leaky=name in (MEAN, MEAN_VBR))


def seen_by(name: str, groups: list[slice], number: int) -> list[slice]:
    """The channels that a group has as context: all before it, or as Chandelier's ELIC has it, the first group and the
    one just before.
    """
    before = groups[:number]
    return [before[0], before[-1]] if name == CHANDELIER and number > 1 else before


def untrained_cltg(architecture: str, network: Adapted, hidden: int) -> ConditionalLatentTriggerGenerator:
    """One that fits a network's synthesis, and leaves every version what it was."""
    layers, sizes = len(network.g_s.layers), network.sizes
    widths = [sizes.width] * (layers - 1)
    if architecture.removeprefix(SOURCE) in ELIC:  # whose synthesis begins with attention among latents
        widths[0] = sizes.latents
    return ConditionalLatentTriggerGenerator(widths, hidden)


def read(architecture: str, network: dict[str, Any], tensors: dict[str, Tensor]) -> Adapted:
    """A network from what its card says and its folder holds, frozen. KeyError, TypeError, RuntimeError or ValueError
    if they do not fit.
    """
    name = architecture.removeprefix(SOURCE)
    if architecture == name or name not in NAMES:
        raise ValueError(f"there is no architecture {architecture}")
    sizes = Sizes(**network)
    g_a, g_s = analysis(name, sizes), synthesis(name, sizes)
    _fill(g_a.layers, tensors, "g_a")
    _fill(g_s.layers, tensors, "g_s")
    made: Adapted
    if name == FACTORIZED:
        mean, of_tables = tensors["mean"], tensors["of_tables"]
        if mean.shape != (sizes.latents,) or of_tables.shape != mean.shape or sizes.hyper_latents:
            raise ValueError("the tables do not fit the number of latents")
        if not 0 <= of_tables.min() <= of_tables.max() < N_SCALES:
            raise ValueError("a table has no scale")
        made = Factorized(sizes, g_a, g_s, of_tables, mean)
    else:
        made = _with_hyperprior(name, sizes, g_a, g_s, tensors)
    if "cltg.trunk.0.bias" in tensors:
        made.cltg = untrained_cltg(architecture, made, len(tensors["cltg.trunk.0.bias"]))
        _fill(made.cltg, tensors, "cltg")
    made.use_integers(torch.float64)
    return made.eval().requires_grad_(False)


def _with_hyperprior(name: str, sizes: Sizes, g_a: Transform, g_s: Transform, tensors: dict[str, Tensor]) -> Hyperprior:
    h_a = hyper_analysis(name, sizes)
    _fill(h_a, tensors, "h_a")
    reach = reach_of(tensors["z_steps"]) if name in VARIABLE else SYMBOLS
    h_s = read_chain(tensors, "h_s", H_S[name], reach, SIGNED if name in GROUPED else OUTPUTS)
    thresholds = tensors["thresholds"]
    if thresholds.shape != (N_SCALES - 1,) or not (thresholds.diff() > 0).all():
        raise ValueError("the thresholds of scales do not rise")
    inputs, outputs = h_s.inputs_and_outputs
    magnitudes = name in (SCALE, SCALE_VBR)
    expected = outputs if name in GROUPED else sizes.latents if magnitudes else 2 * sizes.latents
    if (inputs, outputs) != (sizes.hyper_latents + 1, expected):
        raise ValueError("h_s does not fit the number of latents")
    base = Hyperprior(sizes, g_a, g_s, torch.arange(N_SCALES), h_a, h_s, thresholds, magnitudes)
    if name in VARIABLE:
        return Variable(base, tensors["gain"], tensors["z_steps"], tensors["offsets"])
    return _grouped(name, base, outputs, tensors) if name in GROUPED else base


def _grouped(name: str, base: Hyperprior, of_z: int, tensors: dict[str, Tensor]) -> Grouped:
    """With its groups. of_z: channels that h_s gives."""
    latents, finest = base.sizes.latents, tensors["finest"]
    if finest.shape != (latents,) or not 0 <= finest.min() <= finest.max() <= 16:
        raise ValueError("the context's rounding is out of range")
    slices: list[slice] = []
    while not slices or slices[-1].stop < latents:
        start = slices[-1].stop if slices else 0
        count = len(tensors[f"near{len(slices)}.0.bias"]) // 2
        if not 0 < count <= latents - start:
            raise ValueError("the groups do not fit the number of latents")
        slices.append(slice(start, start + count))
    groups = []
    for number, channels in enumerate(slices):
        count, seen = channels.stop - channels.start, seen_by(name, slices, number)
        before = read_chain(tensors, f"before{number}", BEFORE, CONTEXT, SIGNED) if seen else None
        near = read_chain(tensors, f"near{number}", [LayerKind()], CONTEXT, SIGNED)
        joined = read_chain(tensors, f"joined{number}", JOINED[name], SIGNED, OUTPUTS)
        context = sum(part.stop - part.start for part in seen)
        fits = [near.inputs_and_outputs == (count, 2 * count)]
        fits += [before.inputs_and_outputs == (context, 2 * count)] if before else []
        fits += [joined.inputs_and_outputs == ((4 if before else 2) * count + of_z, 2 * count)]
        if not all(fits):
            raise ValueError(f"the context of group {number} does not fit its number of latents")
        groups.append(Group(channels, seen, before, near, joined))
    return Grouped(base, groups, finest)


def _fill(module: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    state = {key[len(name) + 1 :]: value.float() for key, value in tensors.items() if key.startswith(name + ".")}
    module.load_state_dict(state, assign=True)
