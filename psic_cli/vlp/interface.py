"""What psic needs of a vision-language model, and how one is named on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import Tensor

from psic_cli.errors import ModelError


class VisionLanguageModel(Protocol):
    """A dual encoder. Preprocessing is inside and differentiable; all outputs have unit length."""

    name: str

    def encode_image(self, pictures: Tensor) -> Tensor:
        """float [B, 3, H, W] in 0..1, any size -> [B, D]."""
        ...

    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts -> [N, D]."""
        ...


def load_vlp(spec: str, device: str = "cpu") -> VisionLanguageModel:
    """Load the model that `spec` names.

    Specs: `witness:PATH` (a witness file, see vlp/witness.py). ModelError for anything else and for files that cannot
    be read.
    """
    family, _, rest = spec.partition(":")
    if family == "witness" and rest:
        from psic_cli.vlp.witness import Witness

        return Witness(Path(rest), device)
    raise ModelError(f"unknown vision-language model {spec!r}", hint="use witness:PATH")
