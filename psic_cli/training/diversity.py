"""What happens to pictures on their way to a model, differentiable: a shield must survive it, and what survives it also
transfers better to models it was not trained against (input diversity, Xie et al., CVPR 2019).

Each transform takes and gives float [B, 3, H, W] in 0..1; `Journey` draws some of them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.integer_layers import round_through
from psic_cli.networks.layers import filtered, pad_to_multiple

SMALLEST_SIDE = 32  # pixels: nothing is shrunk below it

# Chances and ranges of what `Journey` does. Much more often, and a shield that starts from nothing hardly starts.
SHRINK, SHRUNK = 0.5, (0.45, 0.95)  # of the side
BACK = 0.5  # of what is shrunk is enlarged again
CROP, CROPPED = 0.15, (0.8, 1.0)  # of the side
JPEG, QUALITY = 0.4, (50, 95)
BLUR, DEVIATION = 0.45, (0.5, 1.2)  # pixels
NOISE, NOISE_DEVIATION = 0.15, (0.0, 0.03)

# ITU-T T.81, tables K.1 and K.2: the quantisation steps that libjpeg scales.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""


def cosine_transform() -> Tensor:
    """The orthonormal 8-point DCT-II: [8 frequencies, 8 places]."""
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


class JpegLike:
    """JPEG without its coder: YCbCr, colour at half the resolution, 8x8 DCT, quantisation. Rounding lets gradients
    through. On photographs it is within a level or so of libjpeg (a test compares them).
    """

    def __init__(self) -> None:
        self.dct = cosine_transform()
        self.steps = [torch.tensor([float(v) for v in table.split()]).view(8, 8) for table in (_LUMA, _CHROMA)]
        self.to_ycbcr = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
        self.to_rgb = torch.tensor([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])

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


def resize(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, (height, width), mode="bicubic", antialias=True, align_corners=False)


def blur(x: Tensor, deviation: float) -> Tensor:
    """Gaussian blur; deviation in pixels, at most 1.5."""
    places = torch.arange(-4.0, 5.0, device=x.device)
    kernel = torch.exp(-0.5 * (places / deviation) ** 2)
    return filtered(x, (kernel / kernel.sum()).to(x.dtype))


class Journey:
    """Draws what happens to a batch: shrinking (and back), a crop, JPEG, a light blur, noise; often nothing.

    generator: decides; noise itself comes from torch's.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator, self.jpeg = generator, JpegLike()

    def __call__(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 is coarser than a level of the picture
            return self._travel(x)

    def _travel(self, x: Tensor) -> Tensor:
        draw = self.generator
        if draw.random() < CROP:
            x = self._crop(x)
        if draw.random() < SHRINK:
            height, width = x.shape[-2:]
            factor = draw.uniform(*SHRUNK)
            if factor * min(height, width) >= SMALLEST_SIDE:
                x = resize(x, round(height * factor), round(width * factor))
                if draw.random() < BACK:
                    x = resize(x, height, width)
        if draw.random() < BLUR:
            x = blur(x, float(draw.uniform(*DEVIATION)))
        if draw.random() < JPEG:
            x = self.jpeg(x, int(draw.integers(QUALITY[0], QUALITY[1] + 1)))
        if draw.random() < NOISE:
            x = x + torch.randn_like(x) * draw.uniform(*NOISE_DEVIATION)
        return x

    def _crop(self, x: Tensor) -> Tensor:
        height, width = (max(SMALLEST_SIDE, round(n * self.generator.uniform(*CROPPED))) for n in x.shape[-2:])
        height, width = min(height, x.shape[2]), min(width, x.shape[3])
        top = int(self.generator.integers(x.shape[2] - height + 1))
        left = int(self.generator.integers(x.shape[3] - width + 1))
        return x[:, :, top : top + height, left : left + width]
