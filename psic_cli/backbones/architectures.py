"""The networks that can be added, and what a model folder holds of each.

Start with `read`, which builds one from its tensors; convert.py makes these tensors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from psic_cli.backbones import transforms
from psic_cli.backbones.adapted import CONTEXT, Adapted, Chequerboard, Factorized, Hyperprior, Sizes
from psic_cli.backbones.integers import HIDDEN, OUTPUTS, SYMBOLS, Activation, LayerKind, read_chain
from psic_cli.backbones.transforms import Transform
from psic_cli.bitstream.tables import N_SCALES
from psic_cli.networks.backbone import STRIDE

SOURCE = "compressai:"  # before the name of an architecture, in a model's card
WEIGHTS_VERSION = 1  # of the tensors' names and meaning, bitstream/FORMAT.md section 10; rises with any change of bits
FACTORIZED, SCALE, MEAN, CHEQUERBOARD = (
    "bmshj2018-factorized",
    "bmshj2018-hyperprior",
    "mbt2018-mean",
    "cheng2020-anchor-checkerboard",
)
NAMES = (FACTORIZED, SCALE, MEAN, CHEQUERBOARD)
BALLE_VIEW, CHENG_VIEW = 2, 7  # latents: four 5x5 at half the side each; the residual blocks of cheng_synthesis

_RELU, _LEAKY = (LayerKind(act) for act in (Activation.RELU, Activation.LEAKY))
_RELU_UP, _LEAKY_UP = (LayerKind(act, shuffle=2) for act in (Activation.RELU, Activation.LEAKY))
H_S = {
    SCALE: [_RELU_UP, _RELU_UP, LayerKind()],
    MEAN: [_LEAKY_UP, _LEAKY_UP, LayerKind()],
    CHEQUERBOARD: [_LEAKY, _LEAKY_UP, _LEAKY, _LEAKY_UP, LayerKind()],
}
JOINED = [_LEAKY, _LEAKY, LayerKind()]
SIGNED = HIDDEN[Activation.NONE]  # what h_s and near of the chequerboard give


def analysis(name: str, sizes: Sizes) -> Transform:
    """An untrained g_a."""
    if name == CHEQUERBOARD:
        return Transform(transforms.cheng_analysis(sizes.width), STRIDE, CHENG_VIEW)
    return Transform(transforms.balle_analysis(sizes.width, sizes.latents), STRIDE, BALLE_VIEW)


def synthesis(name: str, sizes: Sizes) -> Transform:
    """An untrained g_s."""
    if name == CHEQUERBOARD:
        return Transform(transforms.cheng_synthesis(sizes.width), 1, CHENG_VIEW)
    return Transform(transforms.balle_synthesis(sizes.width, sizes.latents), 1, BALLE_VIEW)


def hyper_analysis(name: str, sizes: Sizes) -> nn.Sequential:
    """An untrained h_a."""
    if name == CHEQUERBOARD:
        return transforms.cheng_hyper_analysis(sizes.width)
    return transforms.balle_hyper_analysis(sizes.latents, sizes.width, leaky=name == MEAN)


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
    made.use_integers(torch.float64)
    return made.eval().requires_grad_(False)


def _with_hyperprior(name: str, sizes: Sizes, g_a: Transform, g_s: Transform, tensors: dict[str, Tensor]) -> Hyperprior:
    h_a = hyper_analysis(name, sizes)
    _fill(h_a, tensors, "h_a")
    last = SIGNED if name == CHEQUERBOARD else OUTPUTS
    h_s = read_chain(tensors, "h_s", H_S[name], SYMBOLS, last)
    thresholds = tensors["thresholds"]
    if thresholds.shape != (N_SCALES - 1,) or not (thresholds.diff() > 0).all():
        raise ValueError("the thresholds of scales do not rise")
    outputs = sizes.latents if name == SCALE else 2 * sizes.latents
    if h_s.inputs_and_outputs != (sizes.hyper_latents + 1, outputs):
        raise ValueError("h_s does not fit the number of latents")
    base = Hyperprior(sizes, g_a, g_s, torch.arange(N_SCALES), h_a, h_s, thresholds, magnitudes=name == SCALE)
    if name != CHEQUERBOARD:
        return base
    near = read_chain(tensors, "near", [LayerKind()], CONTEXT, SIGNED)
    joined = read_chain(tensors, "joined", JOINED, SIGNED, OUTPUTS)
    finest = tensors["finest"]
    if near.inputs_and_outputs != (sizes.latents, outputs) or joined.inputs_and_outputs != (2 * outputs, outputs):
        raise ValueError("the context model does not fit the number of latents")
    if finest.shape != (sizes.latents,) or not 0 <= finest.min() <= finest.max() <= 16:
        raise ValueError("the context's rounding is out of range")
    return Chequerboard(base, near, joined, finest)


def _fill(module: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    state = {key[len(name) + 1 :]: value.float() for key, value in tensors.items() if key.startswith(name + ".")}
    module.load_state_dict(state, assign=True)
