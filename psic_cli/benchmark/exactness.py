"""What exact integers cost: the files of a model that was added, beside CompressAI's own with the same weights.

    python -m psic_cli.benchmark.exactness mbt2018-mean mine pictures/ checkpoint.pth [checkpoint.pth ...]

codes every picture with both, by turns, and prints sizes, PSNR and processor time as JSON; of several checkpoints, of
which `psic models add` made the family `mine` in this order, the BD-rate too (negative: psic's files are smaller).
psic's files are open ones without a shield, so that both code the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from psic_cli import packages, zoo
from psic_cli.backbones.architectures import ELIC, VARIABLE
from psic_cli.evaluation import bd_rate
from psic_cli.evaluation.metrics import psnr
from psic_cli.evaluation.sources import find_pictures, read_rgb
from psic_cli.picture import Picture, Pixels
from psic_cli.shell import streams

NAMES = ("bpp", "psnr", "encode_seconds", "decode_seconds")


def compare(network: str, model: zoo.Model, folder: Path, checkpoints: Sequence[Path]) -> dict[str, Any]:
    """Means over the pictures in a folder, for each checkpoint, by rising quality: bits per pixel, PSNR in dB, seconds;
    "psic" and "compressai".
    """
    pictures = find_pictures(folder)
    last = len(checkpoints) - 1
    qualities = [1 + round(99 * number / last) if last else 50 for number in range(len(checkpoints))]
    curves = [
        _compare(original(network, checkpoint), model, quality, pictures)
        for checkpoint, quality in zip(checkpoints, qualities, strict=True)
    ]
    found: dict[str, Any] = {"pictures": len(pictures), "qualities": curves}
    if last:
        ours, theirs = (
            bd_rate.Curve(*(np.array([means[who][name] for means in curves]) for name in NAMES[:2]))
            for who in ("psic", "compressai")
        )
        rate = bd_rate.bd_rate(theirs, ours)
        found["bd_rate_percent"] = None if rate is None else rate[0]
    return found


def _compare(theirs: Any, model: zoo.Model, quality: int, pictures: Sequence[Path]) -> dict[str, dict[str, float]]:
    import torch

    from psic_cli import codec

    found: dict[str, list[list[float]]] = {"psic": [], "compressai": []}
    for path in pictures:
        rgb = read_rgb(path)
        data, encoding = _timed(codec.encode, Picture(rgb), None, model=model, quality=quality, strength=0, effort=0)
        full, decoding = _timed(codec.decode, data, version=codec.Version.FULL)
        found["psic"].append([8 * len(data) / rgb[..., 0].size, psnr(full.rgb, rgb), encoding, decoding])
        with torch.inference_mode():
            coded, encoding = _timed(theirs.compress, as_tensor(rgb))
            decoded, decoding = _timed(theirs.decompress, coded["strings"], coded["shape"])
        size = sum(len(string) for strings in coded["strings"] for string in strings)
        x_hat = decoded["x_hat"][0, :, : rgb.shape[0], : rgb.shape[1]]
        levels = x_hat.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        found["compressai"].append([8 * size / rgb[..., 0].size, psnr(levels, rgb), encoding, decoding])
    return {who: dict(zip(NAMES, np.mean(rows, axis=0).tolist(), strict=True)) for who, rows in found.items()}


def _timed(work: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """What it gives, and processor seconds."""
    started = time.process_time()
    given = work(*arguments, **options)
    return given, time.process_time() - started


def as_tensor(rgb: Pixels) -> Any:
    """As CompressAI's networks take a picture: float32 [1, 3, h, w], 0..1, padded."""
    import torch

    from psic_cli.networks.backbone import PICTURE_MULTIPLE
    from psic_cli.networks.layers import pad_to_multiple

    x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    return pad_to_multiple(x, PICTURE_MULTIPLE)


def check_network(parser: argparse.ArgumentParser, network: str) -> None:
    """A usage error for a network of variable rate."""
    if network in VARIABLE:
        parser.error(f"{network} has no quality of its own to be compared at")


def original(network: str, checkpoint: Path) -> Any:
    """CompressAI's own network, ready to code."""
    packages.need("compressai", "a comparison with CompressAI", extra="compressai")
    import torch
    from compressai.registry import MODELS

    from psic_cli.backbones.fitted import group_sizes

    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state, kind = state.get("state_dict", state), MODELS[network]
    if network in ELIC:  # CompressAI 1.2.8 finds the width in a checkpoint, but not the groups of latents
        groups = group_sizes(state)
        made = kind(state["g_a.0.weight"].shape[0], sum(groups), groups)
        made.load_state_dict(state)
    else:
        made = kind.from_state_dict(state)
    made.update(force=True)
    return made.eval()


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m psic_cli.benchmark.exactness", description=__doc__)
    for name, kind in (("network", str), ("model", str), ("folder", Path)):
        parser.add_argument(name, type=kind)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    asked = parser.parse_args(arguments)
    check_network(parser, asked.network)
    if len(asked.checkpoints) > 1:
        bd_rate.check_available()
    model = zoo.load(asked.model, precision="float32")
    with streams.claim_streams() as standard:
        standard.write_text(json.dumps(compare(asked.network, model, asked.folder, asked.checkpoints), indent=2) + "\n")


if __name__ == "__main__":
    main()
