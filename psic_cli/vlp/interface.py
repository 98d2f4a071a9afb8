"""What psic needs of a vision-language model, and how one is named on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from psic_cli import zoo
from psic_cli.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

KINDS = "use witness:NAME, witness:PATH or open_clip:MODEL:PRETRAINED"
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class VisionLanguageModel(Protocol):
    """A dual encoder. Preprocessing is inside and differentiable; all outputs have unit length.

    logit_scale: what cosines are multiplied with before a softmax turns them into probabilities.
    """

    name: str
    logit_scale: float

    def encode_image(self, pictures: Tensor) -> Tensor:
        """float [B, 3, H, W] in 0..1, any size -> [B, D]."""
        ...

    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts -> [N, D]."""
        ...


class Surrogate(VisionLanguageModel, Protocol):
    """One whose picture tower can be searched against: gradients reach the pictures, its weights are frozen."""

    def features(
        self, pictures: Tensor, resolution: int | None = None, depths: Sequence[float] = (1.0,)
    ) -> list[Tensor]:
        """What the picture tower sees where: [B, 3, H, W] in 0..1 -> float maps [B, C, h, w], one of each depth.

        Nothing is cut off: pictures are squeezed to squares of `resolution` pixels, by default the model's own; fewer
        are quicker. depths: shares of the tower; 1 is its last map, and nothing behind the deepest is computed.
        """
        ...


def load_vlp(spec: str, device: str = "cpu") -> Surrogate:
    """Load the model that `spec` names.

    Specs: `witness:NAME` (one that is installed: lite0, lite1 and lite2 come with psic), `witness:PATH` (a witness
    file, see vlp/witness.py), `open_clip:MODEL:PRETRAINED` (see vlp/open_clip_model.py). ModelError for anything else,
    for files that cannot be read or differ from their card, and for weights that cannot be fetched.
    """
    family, _, rest = spec.partition(":")
    if family == "witness" and rest:
        from psic_cli.vlp.witness import Witness

        return Witness(_witness_file(rest), device, f"witness:{rest}" if _is_name(rest) else None)
    if family == "open_clip" and rest:
        from psic_cli.vlp.open_clip_model import OpenClipModel

        return OpenClipModel(rest, device)
    raise ModelError(f"unknown vision-language model {spec!r}", hint=KINDS)


def find_witness(spec: str) -> zoo.Card | None:
    """The card of an installed witness, verified; None for a spec of another form. ModelError as in `load_vlp`."""
    family, _, name = spec.partition(":")
    if family != "witness" or not _is_name(name):
        return None
    card = zoo.find_card(f"witness-{name}", kind=zoo.WITNESS)
    zoo.verify(card)
    return card


def _is_name(text: str) -> bool:
    """Names have no dots and slashes, paths of weights have at least one: `./lite2` is a file, `lite2` is not."""
    return bool(_NAME.fullmatch(text))


def _witness_file(rest: str) -> Path:
    card = find_witness(f"witness:{rest}")
    return Path(rest) if card is None else card.weights
