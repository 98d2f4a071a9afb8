"""The shield's loss: the models it is trained against, what they are told a picture shows, and how far they are misled.

`Surrogates` holds the frozen models, `shield_loss` says how well a protected picture is still understood.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from psic_cli.training.uaeo import uaeo_loss
from psic_cli.vlp.imagenet import imagenet_classes
from psic_cli.vlp.interface import VisionLanguageModel, load_vlp

PROMPT = "a photo of a {}"
MISREAD, SOFT = 0.0, 0.15  # cosine at which a picture counts as misread, and how gradually


class Surrogates:
    """Models that a shield is trained against, or that judge it.

    Captions of pictures that have none are class prompts: what the model itself takes the original for.
    """

    def __init__(self, specs: Sequence[str], device: str) -> None:
        self.models: list[VisionLanguageModel] = [load_vlp(spec, device) for spec in specs]
        self.device = device
        self._texts: dict[tuple[str, str], Tensor] = {}
        self._classes: dict[str, Tensor] = {}

    def draw(self, count: int, generator: torch.Generator) -> list[VisionLanguageModel]:
        """`count` models at random, or all of them where count is 0."""
        if not 0 < count < len(self.models):
            return self.models
        return [self.models[i] for i in sorted(torch.randperm(len(self.models), generator=generator)[:count].tolist())]

    @torch.no_grad()
    def classes(self, model: VisionLanguageModel) -> Tensor:
        """Unit vectors [N, D] of the ImageNet class prompts."""
        if model.name not in self._classes:
            own = getattr(model, "class_text", None)  # witness files carry theirs
            if own is None:
                names = [name.split(",")[0] for name in imagenet_classes()]
                own = model.encode_text([PROMPT.format(name) for name in names])
            self._classes[model.name] = own.float().to(self.device)
        return self._classes[model.name]

    @torch.no_grad()
    def captions(self, model: VisionLanguageModel, originals: Tensor, texts: Sequence[str | None]) -> Tensor:
        """Unit vectors [B, D] of what pictures show: their texts, or where there is none the most likely class.

        originals: unit vectors [B, D] of the pictures.
        """
        unknown = sorted({text for text in texts if text is not None and (model.name, text) not in self._texts})
        if unknown:
            for new, vector in zip(unknown, model.encode_text(unknown), strict=True):
                self._texts[model.name, new] = vector.float()
        rows = []
        for original, text in zip(originals.float(), texts, strict=True):
            if text is None:
                rows.append(self.classes(model)[self._taken_for(model, original[None])[0]])
            else:
                rows.append(self._texts[model.name, text])
        return torch.stack(rows)

    @torch.no_grad()
    def agreement(self, model: VisionLanguageModel, seen: Tensor, originals: Tensor) -> float:
        """Share of pictures taken for the class that the original is taken for. Unit vectors [B, D] each."""
        same = self._taken_for(model, seen) == self._taken_for(model, originals)
        return same.float().mean().item()

    @torch.no_grad()
    def understood(self, x_hat: Tensor, x: Tensor) -> tuple[float, float]:
        """Mean cosine between decoded pictures and originals, [B, 3, H, W] both, and share of pictures taken for the
        same class, over all models.
        """
        seen = [(model.encode_image(x_hat), model.encode_image(x)) for model in self.models]
        cosines = [(a.float() * b.float()).sum(1).mean().item() for a, b in seen]
        shares = [self.agreement(model, a, b) for model, (a, b) in zip(self.models, seen, strict=True)]
        return sum(cosines) / len(cosines), sum(shares) / len(shares)

    def _taken_for(self, model: VisionLanguageModel, embeddings: Tensor) -> Tensor:
        """Numbers of the most likely classes: [B, D] -> [B]."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return (embeddings.float() @ self.classes(model).T).argmax(1)


def shield_loss(
    models: Sequence[VisionLanguageModel],
    pictures: Tensor,
    originals: list[Tensor],
    captions: list[Tensor] | None,
    uaeo_weight: float,
) -> tuple[Tensor, Tensor]:
    """How well models still understand pictures [B, 3, H, W]: the loss [B], and what it is made of, the cosine to the
    original's embedding [B].

    originals: for each model unit vectors [B, D]. captions: the same for what pictures show, or None for the cosine
    alone.
    """
    seen = [model.encode_image(pictures).float() for model in models]
    cosines = torch.stack([(one * own.float()).sum(1) for one, own in zip(seen, originals, strict=True)]).mean(0)
    # A picture that is misread already needs no more of a shield; those that are still understood do.
    understood = SOFT * torch.nn.functional.softplus((cosines - MISREAD) / SOFT)
    if captions is None:
        return understood, cosines
    misled = [uaeo_loss(one, own, text) for one, own, text in zip(seen, originals, captions, strict=True)]
    return understood + uaeo_weight * torch.stack(misled).mean(0), cosines
