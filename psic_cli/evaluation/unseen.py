"""Plain image classifiers, such as the shield was never made for: what it does to them says how far it carries.

A classifier stands in for a vision-language model by giving its logits as the embedding, and one class each as the
classes to compare it with.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.errors import ModelError
from psic_cli.shell.streams import reason
from psic_cli.shell.terminal import name_of

KINDS = "use timm:MODEL, or timm:MODEL:FILE for weights in a file"
IMAGENET_CLASSES = 1000


class Classifier(nn.Module):
    """A network of timm with its own preprocessing, frozen.

    class_text: the classes as embeddings, [C, C].
    """

    mean: Tensor
    std: Tensor
    class_text: Tensor

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        from timm.data import resolve_model_data_config

        settings: dict[str, Any] = resolve_model_data_config(network)
        self.name = name
        self.network = network
        self.resolution = int(settings["input_size"][-1])
        self.resized = math.floor(self.resolution / settings["crop_pct"])
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(settings[key]).reshape(-1, 1, 1))
        self.register_buffer("class_text", torch.eye(int(getattr(network, "num_classes", 0))))
        self.eval().requires_grad_(False)

    def encode_image(self, pictures: Tensor) -> Tensor:
        """float [B, 3, H, W] in 0..1, any size -> logits [B, C]: short side resized, centre crop, normalised."""
        height, width = pictures.shape[-2:]
        scale = self.resized / min(height, width)
        size = (max(self.resized, round(height * scale)), max(self.resized, round(width * scale)))
        pictures = F.interpolate(pictures, size, mode="bicubic", antialias=True, align_corners=False)
        top, left = (size[0] - self.resolution) // 2, (size[1] - self.resolution) // 2
        pictures = pictures[..., top : top + self.resolution, left : left + self.resolution]
        logits: Tensor = self.network((pictures - self.mean) / self.std)
        return logits.float()


def load_classifier(spec: str, device: str = "cpu") -> Classifier:
    """The network that `spec` names: `timm:MODEL` with the weights that timm has for it, which are fetched unless they
    are cached, or `timm:MODEL:FILE` with those of a checkpoint.

    ModelError for anything else, an unknown model, weights that cannot be had, and files that do not fit.
    """
    family, _, rest = spec.partition(":")
    name, _, file = rest.partition(":")
    if family != "timm" or not name:
        raise ModelError(f"unknown classifier {spec!r}", KINDS)
    try:
        import timm
    except ImportError as error:
        raise ModelError(f"{spec} needs the package timm", "pip install timm") from error

    if not timm.is_model(name):
        raise ModelError(f"timm has no model {name!r}", "timm.list_models() in Python lists them")
    network = _from_file(name, Path(file)) if file else _fetched(name)
    title = f"timm:{name}" if not file else f"timm:{name}:{Path(file).stem}"
    return Classifier(title, network).to(device)


def _fetched(name: str) -> nn.Module:
    import timm

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it reports every retry
    try:
        network: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's client, requests and timm raise their own types
        hint = f"copy them from elsewhere and name them: timm:{name}:FILE"
        raise ModelError(f"the weights of timm:{name} cannot be fetched", hint) from error
    classes = getattr(network, "num_classes", None)
    if classes != IMAGENET_CLASSES:
        raise ModelError(f"timm:{name} knows {classes} classes, not the {IMAGENET_CLASSES} of ImageNet")
    return network


def _from_file(name: str, path: Path) -> nn.Module:
    """Labels are then those of whoever trained it: any number of classes."""
    import timm
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(path), weights_only=True)
        network: nn.Module = timm.create_model(name)
        head = network.default_cfg["classifier"]  # type: ignore[index]
        head = head if isinstance(head, str) else head[0]
        network = timm.create_model(name, num_classes=len(state[f"{head}.weight"]))
        network.load_state_dict(state)
    except OSError as error:
        raise ModelError(f"cannot read {name_of(path)}: {reason(error)}") from error
    except Exception as error:  # pickle, safetensors and torch raise their own types
        what = " ".join(str(error).split())[:200]
        raise ModelError(f"{name_of(path)} holds no weights of timm:{name}: {what}") from error
    return network
