"""Feature maps of open_clip's picture towers, at other resolutions than their own too."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.vlp.maps import chosen


def feature_maps(tower: Any, pictures: Tensor, depths: Sequence[float]) -> list[Tensor]:
    """Prepared pictures [B, 3, H, W] -> maps [B, C, h, w] of each depth: tokens of transformers without the class token
    and behind their last norm, results of stages of convolutional networks.
    """
    wanted = chosen(depths, _count(tower))
    indices = sorted(set(wanted))
    # In CoCa attention pools before the last norm, which then does not fit tokens.
    has_norm = getattr(tower, "attn_pool", None) is None
    given = tower.forward_intermediates(
        pictures, indices=indices, stop_early=True, normalize_intermediates=has_norm, intermediates_only=True
    )
    maps = dict(zip(indices, given["image_intermediates"], strict=True))
    return [maps[index].float() for index in wanted]


def _count(tower: Any) -> int:
    """How many maps there are to choose from: one of each block of a transformer, of each stage of others."""
    if hasattr(tower, "trunk"):  # a network of timm
        return len(tower.trunk.feature_info)
    return len(tower.transformer.resblocks) if hasattr(tower, "transformer") else 5  # the stem and stages of a ResNet


def patch_side(tower: Any) -> int:
    """Sides of pictures have to be multiples of it."""
    embedding = getattr(tower.trunk, "patch_embed", None) if hasattr(tower, "trunk") else tower
    size = getattr(embedding, "patch_size", 1)
    return int(size if isinstance(size, int) else size[0])


def resized(tower: Any, side: int) -> Any:
    """The tower for squares of another side, in pixels. It shares all weights but embeddings of positions."""
    shared = {id(tensor): tensor for tensor in (*tower.parameters(), *tower.buffers())}
    other = copy.deepcopy(tower, shared)
    if hasattr(other, "trunk"):
        other.set_input_size(side)  # networks without positions take any size
    elif hasattr(other, "positional_embedding"):
        other.positional_embedding = _resampled(other.positional_embedding, side // patch_side(tower))
    return other.requires_grad_(False)


@torch.no_grad()
def _resampled(positions: Tensor, side: int) -> nn.Parameter:
    """[1 + h * h, C] -> [1 + side * side, C], as open_clip does it to weights that it loads. The first is no place."""
    before = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].T.reshape(1, -1, before, before)
    grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return nn.Parameter(torch.cat([positions[:1], grid[0].flatten(1).T]), requires_grad=False)
