"""JPEG without its coder, differentiable: what a shield goes through when somebody saves a picture again."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.integer_layers import round_through
from psic_cli.networks.layers import pad_to_multiple

# ITU-T T.81, tables K.1 and K.2: the quantisation steps that libjpeg scales.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""


def cosine_transform() -> Tensor:
    """The orthonormal 8-point DCT-II: [8 frequencies, 8 places]."""
    steps = torch.arange(8, dtype=torch.float32, device="cpu")
    k, n = steps[:, None], steps[None]
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


class JpegLike:
    """JPEG without its coder: YCbCr, colour at half the resolution, 8x8 DCT, quantisation. Rounding lets gradients
    through. On photographs it is within a level or so of libjpeg (a test compares them).
    """

    def __init__(self) -> None:
        self.dct = cosine_transform()
        self.steps = [_floats([float(v) for v in table.split()]).view(8, 8) for table in (_LUMA, _CHROMA)]
        self.to_ycbcr = _floats([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
        self.to_rgb = _floats([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])

    def __call__(self, x: Tensor, quality: int) -> Tensor:
        """[B, 3, H, W] in 0..1, as after saving with a quality of 1..100."""
        height, width = x.shape[-2:]
        ycbcr = torch.einsum("ck,bkhw->bchw", self.to_ycbcr.to(x.device), pad_to_multiple(255 * x.float(), 16))
        luma, chroma = ycbcr[:, :1] - 128, ycbcr[:, 1:]
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        luma_steps, chroma_steps = (
            ((table * scale + 50) / 100).floor().clamp(1, 255).to(x.device) for table in self.steps
        )
        luma = self._quantise(luma, luma_steps)
        chroma = self._quantise(F.avg_pool2d(chroma, 2), chroma_steps)
        chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
        rgb = torch.einsum("ck,bkhw->bchw", self.to_rgb.to(x.device), torch.cat([luma + 128, chroma], dim=1))
        return (rgb / 255)[..., :height, :width]

    def _quantise(self, x: Tensor, steps: Tensor) -> Tensor:
        """[B, C, H, W], sides multiples of 8, through quantised coefficients."""
        dct = self.dct.to(x.device)
        blocks = x.unflatten(3, (-1, 8)).unflatten(2, (-1, 8))  # [B, C, rows, 8, columns, 8]
        frequencies = torch.einsum("uy,bcrykx,vx->bcrkuv", dct, blocks, dct)
        kept = round_through(frequencies / steps) * steps
        return torch.einsum("uy,bcrkuv,vx->bcrykx", dct, kept, dct).flatten(4).flatten(2, 3)


def _floats(numbers: list[Any]) -> Tensor:
    """float32 on the processor, whatever type and device a host has made the default."""
    return torch.tensor(numbers, dtype=torch.float32, device="cpu")
