"""Any model of open_clip_torch: CLIP, SigLIP, CoCa and their relatives.

Named as open_clip names them: `MODEL:PRETRAINED`, where PRETRAINED is a tag ("ViT-B-32:laion2b_s34b_b79k", fetched from
its hub once and kept in its cache) or a local checkpoint ("ViT-B-32:weights.safetensors"); `local-dir:FOLDER`, a folder
with open_clip_config.json and weights; `hf-hub:ORG/REPO`.

A checkpoint does not tell how its pictures are prepared. The tag does that it is called after ("webli.safetensors"),
else most tags of its model: those of SigLIP squash a picture, those of CLIP take its middle.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.errors import ModelError
from psic_cli.vlp.maps import squared
from psic_cli.vlp.open_clip_maps import feature_maps, patch_side, resized

_WHOLE_MODELS = ("local-dir", "hf-hub")  # open_clip's prefixes for a place that holds configuration and weights
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
_TEXTS_AT_ONCE = 64


class OpenClipModel(nn.Module):
    """One open_clip model, frozen, in float32 and in evaluation mode.

    Attributes: `logit_scale`, for softmax over texts; `preprocess`, the model's own configuration of it (size in
    pixels, mean, std, interpolation, resize_mode).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: str, device: str = "cpu") -> None:
        """spec: see above. ModelError, with what to do, for unknown models and weights that cannot be had."""
        super().__init__()
        place, _, pretrained = spec.partition(":")
        self._config_name = spec if place in _WHOLE_MODELS else place
        self.name = f"open_clip:{place}:{Path(pretrained).stem if _is_path(pretrained) else pretrained}"
        with _silenced():
            self.model = _create(self._config_name, None if place in _WHOLE_MODELS else pretrained, spec)
        self.logit_scale = float(self.model.logit_scale.detach().exp())
        self.preprocess: dict[str, Any] = self.model.visual.preprocess_cfg
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(self.preprocess[name]).reshape(-1, 1, 1))
        self.eval().requires_grad_(False).to(device)
        self._resized: tuple[int, Any] | None = None  # in a tuple, which torch does not look into

    def encode_image(self, pictures: Tensor) -> Tensor:
        """float [B, 3, H, W] in 0..1 -> unit vectors [B, D]."""
        embedding: Tensor = self.model.encode_image((self._fit(pictures) - self.mean) / self.std)
        return F.normalize(embedding.float(), dim=-1)

    def features(
        self, pictures: Tensor, resolution: int | None = None, depths: Sequence[float] = (1.0,)
    ) -> list[Tensor]:
        """See `Surrogate`. Resolutions are rounded down to whole patches; maps are blocks or stages."""
        own = self.preprocess["size"]
        own = own if isinstance(own, int) else own[0]
        side = (resolution or own) // patch_side(self.model.visual) * patch_side(self.model.visual)
        prepared = (squared(pictures, side) - self.mean) / self.std
        return feature_maps(self._tower(side, own), prepared, depths)

    def _tower(self, side: int, own: int) -> Any:
        """The picture tower for squares of a side; the one of the last other side is kept."""
        if side == own:
            return self.model.visual
        if self._resized is None or self._resized[0] != side:
            self._resized = side, resized(self.model.visual, side)
        return self._resized[1]

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts -> unit vectors [N, D]. ModelError if the model's tokenizer cannot be fetched."""
        pieces = []
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            tokens = self._tokenizer(texts[first : first + _TEXTS_AT_ONCE]).to(self.mean.device)
            pieces.append(F.normalize(self.model.encode_text(tokens).float(), dim=-1))
        return torch.cat(pieces)

    @cached_property
    def _tokenizer(self) -> Any:
        # Only now: that of CLIP comes with open_clip, those of SigLIP and others are fetched, and class labels of a
        # witness or pictures alone need none.
        import open_clip

        try:
            with _silenced():
                return open_clip.get_tokenizer(self._config_name)
        except Exception as error:  # transformers and the hub raise whatever they like
            raise ModelError(f"{self.name}: cannot get its tokenizer: {_reason(error)}", _HINT_FETCH) from error

    def _fit(self, pictures: Tensor) -> Tensor:
        """Resize and crop as open_clip does to files, but with gradients: [B, 3, H, W] -> [B, 3, h, w]."""
        from open_clip.transform import center_crop_or_pad

        size, mode = self.preprocess["size"], self.preprocess["resize_mode"]
        target = (size, size) if isinstance(size, int) else tuple(size)
        height, width = pictures.shape[-2:]
        if mode == "squash":
            new = target
        elif mode == "shortest" and target[0] == target[1]:  # what is longer is cut; int() as in torchvision
            new = tuple(int(target[0] * side / min(height, width)) for side in (height, width))
        else:  # round() as in open_clip
            ratio = (max if mode == "longest" else min)(height / target[0], width / target[1])
            new = tuple(max(1, round(side / ratio)) for side in (height, width))
        if (height, width) != new:
            kind = "bilinear" if self.preprocess["interpolation"] == "bilinear" else "bicubic"
            pictures = F.interpolate(pictures, new, mode=kind, antialias=True, align_corners=False)
        fitted: Tensor = center_crop_or_pad(pictures, list(target), fill=self.preprocess.get("fill_color", 0) / 255)
        return fitted


_HINT_FETCH = (
    "connect to the network once (open_clip keeps what it fetched), or name a local checkpoint: open_clip:MODEL:PATH"
)


def _create(config_name: str, pretrained: str | None, spec: str) -> Any:
    """The network with its weights."""
    import open_clip

    fetched: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    if pretrained is not None:
        if open_clip.get_model_config(config_name) is None:
            known = [name for name in open_clip.list_models() if name.lower().startswith(config_name.lower()[:5])]
            listed = ", ".join(known[:8]) or "ViT-B-32, ViT-L-14, RN50, ..."
            raise ModelError(f"open_clip knows no model {config_name!r}", f"such as {listed}")
        fetched = open_clip.pretrained.get_pretrained_cfg(config_name, pretrained)
        if not pretrained or (not fetched and not Path(pretrained).is_file()):
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(config_name)) or "none"
            message = f"{pretrained!r} is neither a checkpoint file nor a tag of {config_name}"
            raise ModelError(message if pretrained else f"no weights named for {config_name}", f"its tags: {tags}")
        settings = fetched or _settings_of_file(config_name, Path(pretrained).stem)
    try:
        return open_clip.create_model(
            config_name,
            pretrained,
            require_pretrained=True,  # never a network of random numbers
            force_quick_gelu=bool(settings.get("quick_gelu")),  # open_clip only warns where this differs
            force_preprocess_cfg={name: settings[name] for name in _PREPROCESSING if name in settings},
        )
    except Exception as error:  # open_clip, torch, safetensors and the hub raise whatever they like
        if fetched or spec.startswith("hf-hub:"):
            raise ModelError(f"cannot fetch open_clip:{spec}: {_reason(error)}", _HINT_FETCH) from error
        if spec.startswith("local-dir:"):
            hint = "the folder needs open_clip_config.json and a checkpoint of that model"
        else:
            hint = f"it must hold the weights of {config_name}, saved by torch.save or as safetensors"
        raise ModelError(f"cannot load open_clip:{spec}: {_kind_of_failure(error)}", hint) from error


def _settings_of_file(config_name: str, stem: str) -> dict[str, Any]:
    """What the tag says that a checkpoint is called after, or of the preprocessing what most tags of its model say."""
    import open_clip

    if named := open_clip.pretrained.get_pretrained_cfg(config_name, stem):
        return dict(named)
    tags = open_clip.list_pretrained_tags_by_model(config_name)
    said = [open_clip.pretrained.get_pretrained_cfg(config_name, tag) for tag in tags]
    ways = [{name: one[name] for name in _PREPROCESSING if name in one} for one in said]
    return max(ways, key=ways.count, default={})


def _kind_of_failure(error: BaseException) -> str:
    """Why a local checkpoint was not taken: torch's own words for it fill pages, and give dangerous advice."""
    if isinstance(error, FileNotFoundError):
        return "something is missing"
    return "it is not a checkpoint, or one of another model"


def _is_path(text: str) -> bool:
    return Path(text).exists()


def _reason(error: BaseException) -> str:
    """The first sentence of what went wrong at the bottom: libraries wrap it in pages."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")[:160]


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """open_clip logs what it does and what goes wrong; here errors are raised, and the rest is not for people."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
