"""Checkpoints as CompressAI saves them, made without it: few channels, seeded, untrained, latents that are not zero."""

from __future__ import annotations

import functools
import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from psic_cli.backbones import transforms
from psic_cli.backbones.architectures import (
    CHANDELIER,
    CHEQUERBOARD,
    ELIC,
    FACTORIZED,
    GROUPED,
    MEAN,
    MEAN_VBR,
    OFFICIAL,
    SCALE,
    SCALE_VBR,
    VARIABLE,
)
from psic_cli.backbones.convert import PEDESTAL, Converted, convert
from psic_cli.backbones.transforms import same, shuffled, up

WIDTH, LATENTS = 8, 12
GROUPS = (2, 4, 3, 3)  # of ELIC's latents
BEFORE = (24, 16)  # channels inside what sees the groups before; CompressAI has 224 and 128
BALLE = (transforms.balle_analysis, transforms.balle_synthesis)


def photo(height: int = 128, width: int = 192, seed: int = 0) -> Tensor:
    """[1, 3, H, W] in 0..1, smooth."""
    noise = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)


def hyper_synthesis(name: str, width: int = WIDTH, latents: int = LATENTS) -> nn.Sequential:
    """h_s as CompressAI has it."""
    act, w, m = nn.LeakyReLU, width, latents
    name = VARIABLE.get(name, name)
    if name == SCALE:
        return nn.Sequential(up(w, w), nn.ReLU(), up(w, w), nn.ReLU(), same(w, m), nn.ReLU())
    if name == MEAN:
        return nn.Sequential(up(w, m), act(), up(m, m * 3 // 2), act(), same(m * 3 // 2, 2 * m))
    v = w * 3 // 2
    if name in ELIC:
        last = nn.ConvTranspose2d(v, 2 * w, 3, padding=1) if name == OFFICIAL else same(v, 2 * m)
        return nn.Sequential(up(w, w), nn.ReLU(), up(w, v), nn.ReLU(), last)
    return nn.Sequential(
        *(same(w, w), act(), shuffled(w, w), act(), same(w, v), act(), shuffled(v, v), act(), same(v, 2 * w))
    )


def context_model(width: int) -> tuple[nn.Conv2d, nn.Sequential]:
    """The chequerboard's 5x5, whose weights are not masked yet, and what joins it with z."""
    act, w = nn.LeakyReLU, width
    layers = (same(4 * w, w * 10 // 3, 1), act(), same(w * 10 // 3, w * 8 // 3, 1), act(), same(w * 8 // 3, 2 * w, 1))
    return same(w, 2 * w, 5), nn.Sequential(*layers)


def elic_context(name: str) -> dict[str, nn.Module]:
    """All that ELIC predicts y with, behind h_s, by name."""
    of_y, parts = "latent_codec.y.", {}  # type: str, dict[str, nn.Module]
    of_z = 2 * LATENTS if name == CHANDELIER else 2 * WIDTH
    for number, count in enumerate(GROUPS):
        part, inputs = f"{of_y}latent_codec.y{number}", (4 if number else 2) * count + of_z
        seen = sum(GROUPS[:number]) if name == OFFICIAL or number < 2 else GROUPS[0] + GROUPS[number - 1]
        if seen:
            a, b = BEFORE
            layers = same(seen, a, 5), nn.ReLU(), same(a, b, 5), nn.ReLU(), same(b, 2 * count, 5)
            parts[f"{of_y}channel_context.y{number}"] = nn.Sequential(*layers)
        parts[f"{part}.context_prediction"] = same(count, 2 * count, 5)
        ramp = torch.linspace(inputs, 2 * count, 4).floor().int().clamp_min(2 * WIDTH).tolist()
        first, second = ramp[1:3] if name == OFFICIAL else (2 * LATENTS, 512)
        layers = same(inputs, first, 1), nn.ReLU(), same(first, second, 1), nn.ReLU(), same(second, 2 * count, 1)
        parts[f"{part}.entropy_parameters"] = nn.Sequential(*layers)
    return parts


def bottleneck(channels: int) -> dict[str, Tensor]:
    """An entropy bottleneck's parts, around medians that are not whole."""
    parts, sizes = {}, (1, 3, 3, 3, 3, 1)
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        start = math.log(math.expm1(1 / 10**0.2 / outputs))
        parts[f"matrices.{number}"] = torch.full((channels, outputs, inputs), start)
        parts[f"biases.{number}"] = torch.rand(channels, outputs, 1) - 0.5
        if outputs > 1:
            parts[f"factors.{number}"] = torch.zeros(channels, outputs, 1)
    medians = torch.rand(channels) * 4 - 2
    parts["quantiles"] = torch.stack([medians - 10, medians, medians + 10], dim=1)[:, None]
    return parts


def perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def of_levels(name: str) -> dict[str, Tensor]:
    """What a variable-rate network has besides; one of the two has steps of z too, as CompressAI's trained ones do."""
    parts = {"QuantABCD": perceptron(2, 12)}
    if name == MEAN_VBR:
        layers = parts["gayn2zqstep"] = perceptron(1, 10)
        for number, weight in ((0, torch.full((10, 1), 0.2)), (2, torch.eye(10)), (4, torch.full((1, 10), 0.1))):
            layers[number].weight.copy_(weight)  # type: ignore[operator]
            layers[number].bias.zero_()  # type: ignore[operator]
    state = {f"{part}.{key}": value for part, made in parts.items() for key, value in made.state_dict().items()}
    return state | {"Gain": torch.logspace(-1, 0, 8)}


@torch.no_grad()
def state_of(name: str, seed: int = 1) -> dict[str, Tensor]:
    """A state dict of CompressAI's network of that name."""
    torch.manual_seed(seed)
    width, latents = WIDTH, WIDTH if name == CHEQUERBOARD else LATENTS
    hyper = "latent_codec.hyper." if name in GROUPED else ""
    if name == CHEQUERBOARD:
        g_a, g_s = transforms.cheng_analysis(width), transforms.cheng_synthesis(width)
        h_a = transforms.cheng_hyper_analysis(width)
    else:
        makers = (transforms.elic_analysis, transforms.elic_synthesis) if name in ELIC else BALLE
        g_a, g_s = (make(width, latents) for make in makers)
        h_a = transforms.balle_hyper_analysis(latents, width, leaky=name in (MEAN, MEAN_VBR))
    if name in ELIC:
        g_a[13].weight.mul_(60)  # type: ignore[operator]
    else:
        g_a[-1].weight.mul_(240 if name in VARIABLE else 60)  # type: ignore[operator]
    parts: dict[str, nn.Module] = {"g_a": g_a, "g_s": g_s}
    if name != FACTORIZED:
        h_s = hyper_synthesis(name)
        for module in (*h_a, *h_s):
            for parameter in module.parameters():
                parameter.mul_(2.5)
        parts |= {f"{hyper}h_a": h_a, f"{hyper}h_s": h_s}
    if name == CHEQUERBOARD:
        near, joined = context_model(WIDTH)
        parts |= {"latent_codec.y.context_prediction": near, "latent_codec.y.entropy_parameters": joined}
    if name in ELIC:
        parts |= elic_context(name)
    state = {
        f"{part}.{key}": value.clone() for part, module in parts.items() for key, value in module.state_dict().items()
    }
    for key in [key for key in state if key.endswith((".beta", ".gamma"))]:
        state[key] = (state[key] + PEDESTAL).sqrt()
    channels = latents if name == FACTORIZED else WIDTH
    if name in VARIABLE:
        state |= of_levels(name)
    return state | {f"{hyper}entropy_bottleneck.{key}": value for key, value in bottleneck(channels).items()}


@torch.no_grad()
def averaging(name: str) -> dict[str, Tensor]:
    """The same, but with transforms whose first three latents are the mean colour around a cell, and which paint it."""
    state = state_of(name)
    row = torch.tensor([1.0, 4, 6, 4, 1])
    blur, colours = torch.outer(row, row) / 256, torch.arange(3)
    for key in [key for key in state if key.startswith(("g_a.", "g_s."))]:
        state[key] = torch.zeros_like(state[key])
        if key.endswith(".beta"):
            state[key] += (1 + PEDESTAL) ** 0.5
    for layer in (0, 2, 4, 6):
        state[f"g_a.{layer}.weight"][colours, colours] = blur * (60 if layer == 6 else 1)
        state[f"g_s.{layer}.weight"][colours, colours] = 4 * blur / (60 if layer == 6 else 1)
    offset = {"QuantABCD.4.weight": torch.zeros(1, 12), "QuantABCD.4.bias": torch.full((1,), 0.02)}
    return state | offset


@functools.cache
def converted(name: str) -> Converted:
    """The same as a model of psic's."""
    return convert(name, state_of(name), [photo()])


def original(name: str) -> Any:
    """CompressAI's network with the checkpoint's weights."""
    from compressai.models import FactorizedPrior, MeanScaleHyperprior, ScaleHyperprior
    from compressai.models.sensetime import Cheng2020AnchorCheckerboard, Elic2022Chandelier, Elic2022Official
    from compressai.models.vbr import MeanScaleHyperpriorVbr, ScaleHyperpriorVbr

    network = {
        FACTORIZED: lambda: FactorizedPrior(WIDTH, LATENTS),
        SCALE: lambda: ScaleHyperprior(WIDTH, LATENTS),
        MEAN: lambda: MeanScaleHyperprior(WIDTH, LATENTS),
        CHEQUERBOARD: lambda: Cheng2020AnchorCheckerboard(WIDTH),
        OFFICIAL: lambda: Elic2022Official(WIDTH, LATENTS, GROUPS),
        CHANDELIER: lambda: Elic2022Chandelier(WIDTH, LATENTS, GROUPS),
        SCALE_VBR: lambda: ScaleHyperpriorVbr(WIDTH, LATENTS),
        MEAN_VBR: lambda: MeanScaleHyperpriorVbr(WIDTH, LATENTS, vr_entbttlnck=True),
    }[name]().eval()
    if name in ELIC:
        smaller = {key.rpartition(".")[2]: part for key, part in elic_context(name).items() if "channel" in key}
        network.latent_codec["y"].channel_context.update(smaller)
    state = state_of(name)
    if name == MEAN_VBR:  # whose bottleneck has its parts under the names of older versions
        state = {_old_name(key): value for key, value in state.items()}
    missing, unexpected = torch.nn.Module.load_state_dict(network, state, strict=False)
    assert not unexpected
    not_weights = ("reparam", ".mask", "bound", "target", "scale_table", "._")
    assert all(any(part in key for part in not_weights) for key in missing)
    return network


def _old_name(key: str) -> str:
    for now, before in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
        key = key.replace(f"entropy_bottleneck.{now}", f"entropy_bottleneck.{before}")
    return key


def save_state(state: object, path: Path | None = None) -> Path:
    """A checkpoint file."""
    path = path or Path(tempfile.mkdtemp()) / "checkpoint.pth"
    torch.save(state, path)
    return path
