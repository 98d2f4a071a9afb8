"""Who draws the shield: the encoder's search, CLTG in the decoder, or both. See docs/ablations.md.

    python -m psic_cli.evaluation.shares pictures/ --vlp witness:lite0 --vlp witness:lite1

codes every picture with neither, with each alone and with both, and prints a Markdown table. "Reads" is the share of
pictures that a model takes for what it takes the original for; "without the key" is the same of the public latents
under the condition of the full version, which takes CLTG's part off again.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from psic_cli import codec, zoo
from psic_cli.codec import Version
from psic_cli.evaluation import coding
from psic_cli.evaluation.classification import class_embeddings
from psic_cli.evaluation.coding import Making
from psic_cli.evaluation.metrics import psnr
from psic_cli.evaluation.sources import find_pictures, read_rgb
from psic_cli.networks.network import PsicNetwork
from psic_cli.picture import Pixels
from psic_cli.shell import markdown, streams
from psic_cli.vlp.interface import VisionLanguageModel, load_vlp

FULL: codec.Asked = (0.0, 0.0)  # what a decoder asks the network for
PROTECTED: codec.Asked = (1.0, 0.0)
WAYS = ("neither", "CLTG alone", "search alone", "both")


class Drawn(NamedTuple):
    """One picture, one way: the bytes of its file, and what anybody decodes from it.

    shown: as the decoder that came with the file does. keyless: under the condition of the full version.
    """

    size: int
    shown: Pixels
    keyless: Pixels


def without_cltg(model: zoo.Model) -> zoo.Model:
    """The same codec, whose conditions change nothing. Its files name the model as it was: decode them under `FULL`."""
    network = copy.deepcopy(model.network)
    assert isinstance(network, PsicNetwork)
    for head in network.g_s.cltg.heads:
        torch.nn.init.zeros_(head.weight)  # type: ignore[arg-type]
    return replace(model, network=network)


def draw(rgb: Pixels, model: zoo.Model, plain: zoo.Model, quality: int) -> Iterator[Drawn]:
    """One picture in all of WAYS. rgb: [H, W, 3] uint8. plain: the model `without_cltg`."""

    def decoded(data: bytes, asked: codec.Asked) -> Pixels:
        return coding.decode(data, model, Version.PROTECTED, asked)

    unmoved = coding.encode(rgb, model, quality, Making(strength=0))
    full = decoded(unmoved, FULL)
    yield Drawn(len(unmoved), full, full)
    yield Drawn(len(unmoved), decoded(unmoved, PROTECTED), full)
    searched = coding.encode(rgb, plain, quality)
    alone = decoded(searched, FULL)
    yield Drawn(len(searched), alone, alone)
    both = coding.encode(rgb, model, quality)
    yield Drawn(len(both), decoded(both, PROTECTED), decoded(both, FULL))


def measure(paths: Sequence[Path], model: zoo.Model, vlps: Sequence[VisionLanguageModel], quality: int) -> str:
    """The table. vlps: with classes of their own, as witnesses have; InputError for others."""
    plain, classes = without_cltg(model), {vlp.name: class_embeddings(vlp, None) for vlp in vlps}
    costs: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}  # share of bytes, dB
    reads: dict[tuple[str, str], list[list[float]]] = {}  # cosine, and same label shown and without the key
    for path in paths:
        rgb = read_rgb(path)
        ways = dict(zip(WAYS, draw(rgb, model, plain, quality), strict=True))
        first = ways[WAYS[0]]
        for way, drawn in ways.items():
            costs[way].append((drawn.size / first.size - 1, psnr(rgb, first.shown) - psnr(rgb, drawn.shown)))
            for vlp in vlps:
                reads.setdefault((vlp.name, way), []).append(_read(vlp, classes[vlp.name], rgb, drawn))
    columns = ["drawn by", "loses, dB", "bytes more, %"]
    for vlp in vlps:
        columns += [f"{vlp.name}: cosine", "reads, %", "without the key, %"]
    rows = []
    for way in WAYS:
        more, lost = np.mean(costs[way], axis=0)
        row = [way, f"{lost:.2f}", f"{100 * more:.1f}"]
        for vlp in vlps:
            cosine, shown, keyless = np.mean(reads[vlp.name, way], axis=0)
            row += [f"{cosine:.3f}", f"{100 * shown:.0f}", f"{100 * keyless:.0f}"]
        rows.append(row)
    return markdown.table(columns, rows)


@torch.inference_mode()
def _read(vlp: VisionLanguageModel, classes: Tensor, rgb: Pixels, drawn: Drawn) -> list[float]:
    pictures = torch.from_numpy(np.stack([rgb, drawn.shown, drawn.keyless])).permute(0, 3, 1, 2).float() / 255
    seen = vlp.encode_image(pictures).float()
    labels = (seen @ classes.T).argmax(1)
    return [float(seen[0] @ seen[1]), float(labels[1] == labels[0]), float(labels[2] == labels[0])]


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m psic_cli.evaluation.shares", description=__doc__)
    parser.add_argument("folder", type=Path, help="pictures")
    parser.add_argument("--vlp", action="append", required=True, help="who looks, as psic evaluate names them")
    parser.add_argument("-m", "--model", default=zoo.DEFAULT_MODEL, help="a model with CLTG")
    parser.add_argument("-q", "--quality", type=int, default=50, help="1 to 100")
    parser.add_argument("--limit", type=int, help="so many of the pictures, the first ones by name")
    asked = parser.parse_args(arguments)
    model, vlps = zoo.load(asked.model), [load_vlp(spec) for spec in asked.vlp]
    with streams.claim_streams() as standard:
        standard.write_text(measure(find_pictures(asked.folder)[: asked.limit], model, vlps, asked.quality))


if __name__ == "__main__":
    main()
