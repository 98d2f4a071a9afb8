"""What vision-language models see of the original and of every version: one pass that keeps embeddings, no pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from psic_cli import zoo
from psic_cli.codec import Version
from psic_cli.errors import UsageError
from psic_cli.evaluation.coding import code
from psic_cli.evaluation.metrics import psnr
from psic_cli.picture import Pixels
from psic_cli.vlp.interface import VisionLanguageModel

ORIGINAL = "original"
VERSIONS = (Version.PROTECTED, Version.FULL, Version.MACHINE, Version.FORCED)


@dataclass(frozen=True)
class View:
    """One picture, as each model sees it. Embeddings: [D], by the model's name, then "original" or (quality, version).

    psnr: dB against the original, by (quality, version); bpp: by quality.
    """

    embeddings: Mapping[str, Mapping[object, Tensor]]
    psnr: Mapping[tuple[int, str], float]
    bpp: Mapping[int, float]


@dataclass
class Views:
    """All pictures that could be measured. kept: their numbers among those that were given."""

    views: list[View] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    def embeddings(self, model: str, what: object) -> Tensor:
        """[pictures, D] for "original" or (quality, version)."""
        return torch.stack([view.embeddings[model][what] for view in self.views])


@torch.inference_mode()
def look(rgb: Pixels, model: zoo.Model, qualities: Sequence[int], vlps: Mapping[str, VisionLanguageModel]) -> View:
    """Code one picture in every quality and show the original and all versions to every model. rgb: [H, W, 3] uint8."""
    shown: dict[object, Pixels] = {ORIGINAL: rgb}
    embeddings: dict[str, dict[object, Tensor]] = {name: {} for name in vlps}
    lost, bpp = {}, {}

    def show() -> None:
        # Versions of one picture have one size, so they are one batch; no more of them are held than one quality's.
        batch = torch.from_numpy(np.stack(list(shown.values()))).permute(0, 3, 1, 2).float().to(model.device) / 255
        for name, vlp in vlps.items():
            embeddings[name].update(zip(shown, vlp.encode_image(batch).float().cpu().unbind(), strict=True))
        shown.clear()

    for quality in qualities:
        coded = code(rgb, model, quality, VERSIONS)
        bpp[quality] = coded.bpp
        for version, decoded in coded.pictures.items():
            shown[quality, version.value] = decoded
            lost[quality, version.value] = psnr(rgb, decoded)
        show()
    return View(embeddings, lost, bpp)


def named(vlps: Sequence[VisionLanguageModel]) -> dict[str, VisionLanguageModel]:
    """Models by name. UsageError if two have the same."""
    by_name = {vlp.name: vlp for vlp in vlps}
    if len(by_name) < len(vlps):
        raise UsageError("two of the vision-language models have the same name", "name each once")
    return by_name
