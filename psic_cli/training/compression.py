"""Stage 1: rate and distortion of the full version at all quality levels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli.networks.cltg import CONDITIONS, QUALITY
from psic_cli.training import distributed
from psic_cli.training.data import CropSource, read_large, read_pairs, read_photos, to_tensor
from psic_cli.training.run import Run

VALIDATION_LEVELS = (8, 32, 56)
VALIDATION_SIDES = (256, 640)  # pixels: corners of photos, and the middles of large ones, shrunk
# Beside the configuration's crop, where there are large photos: so that the entropy network, which looks far, learns
# what lies beyond it
LARGER_CROPS = [384, 512, 640]
# Beside it too, where there are pictures with captions, which are small: they are most of what there is to see
SMALLER_CROP = 192
REFERENCE_LAMBDA = 0.008  # the middle of the range, on a log scale
FITTED_TO, STARTED_FROM = 40, 2  # batches: the density of z, where an exported model goes on, and an untrained network
COUNTED = 70  # batches: symbols of y, at the end
# Share of the learning rate for the biases of blocks: what a unit adds is mostly noise at first, and the quickest way
# to end that is a bias that shuts its ReLU for good
BIAS_RATE = 0.2


def lambda_of(level: Tensor, low: float, high: float, levels: int) -> Tensor:
    """Weight of 255^2 MSE against bits per pixel at a quality level, log-spaced."""
    return low * (high / low) ** (level.float() / (levels - 1))


class CompressionStage:
    """Loss: bpp + lambda * 255^2 * MSE, each sample at a level of its own.

    Samples are weighted by lambda^-0.4: the loss of a small file is ten times smaller than that of a large one, but
    what people compare (BD-rate) is relative.
    """

    name = "compression"

    def __init__(self, run: Run, fresh: bool) -> None:
        self.run, self.config = run, run.config.compression
        data, seed = run.config.data, run.config.seed + 1000 * distributed.rank()
        photos, held_out_photos = read_photos(data.photos)
        large, held_out_large = read_large(data.large)
        paired = [pair.rgb for pair in read_pairs(data.pairs, "train")]
        crops = 2 * [self.config.crop] + [side for side in LARGER_CROPS if large and side > self.config.crop]
        crops += 2 * [SMALLER_CROP] if paired and self.config.crop > SMALLER_CROP else []
        self.source = CropSource(photos + large + paired, crops, seed, run.device)
        side, larger = VALIDATION_SIDES
        held_out = [to_tensor(rgb[:side, :side])[None] for rgb in held_out_photos]
        self.held_out = {side: [x for x in held_out if x.shape[-2:] == (side, side)]}
        self.held_out[larger] = [_middle(to_tensor(rgb)[None], larger) for rgb in held_out_large]
        run.network.train()
        if fresh:
            if run.config.start_from:
                run.rate.fit_prior(run.network, self.source.next_batch(FITTED_TO * self._pixels))
            else:
                run.rate.start_from(run.network, self.source.next_batch(STARTED_FROM * self._pixels))

    @property
    def _pixels(self) -> int:
        """Of a batch."""
        return self.config.batch * self.config.crop**2

    def parameter_groups(self) -> list[dict[str, Any]]:
        prior = list(self.run.rate.parameters())
        parameters = dict(self.run.network.named_parameters())
        biases = [parameters.pop(name) for name in list(parameters) if ".blocks." in name and name.endswith("bias")]
        return [
            {"params": list(parameters.values())},
            {"params": biases, "factor": BIAS_RATE},
            {"params": prior, "factor": 5.0},
        ]

    def code(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W], levels [B] -> bits per pixel [B], the full version float32 [B, 3, H, W]."""
        network = self.run.network
        condition = torch.zeros(len(x), CONDITIONS, device=x.device)
        condition[:, QUALITY] = network.config.quality(level)
        with self.run.arithmetic():
            y_hat, y_bits, z_bits = self.run.rate(network, x, level)
            x_hat = network.synthesise(y_hat, condition)
        return (y_bits.sum(1) + z_bits) / (x.shape[2] * x.shape[3]), x_hat.float()

    def _figures(self, x: Tensor, level: Tensor) -> dict[str, float]:
        """Of one picture [1, 3, H, W]."""
        bpp, x_hat = self.code(x, level)
        return {"bpp": bpp.item(), "psnr": -10 * (x_hat - x).square().mean().log10().item()}

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        config = self.run.config
        x = self.source.next_batch(self._pixels).contiguous(memory_format=torch.channels_last)
        level = torch.randint(config.network.levels, (len(x),), device=x.device)
        bpp, x_hat = self.code(x, level)
        mse = (x_hat - x).square().mean((1, 2, 3))
        figures = {"bpp": bpp.mean().item(), "mse255": 255**2 * mse.mean().item()}
        weight = lambda_of(level, config.lambda_low, config.lambda_high, config.network.levels)
        share = (REFERENCE_LAMBDA / weight) ** 0.4
        return ((bpp + weight * 255**2 * mse) * share).mean(), figures

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        results: dict[str, float] = {}
        for side, pictures in self.held_out.items():
            suffix = "" if side == VALIDATION_SIDES[0] else f"_at_{side}"
            for number in VALIDATION_LEVELS if pictures else ():
                level = torch.tensor([number], device=self.run.device)
                found = [self._figures(x.to(self.run.device), level) for x in pictures]
                for key in found[0]:
                    results[f"{key}{number}{suffix}"] = sum(figures[key] for figures in found) / len(found)
        return results

    @torch.no_grad()
    def finish(self) -> None:
        """Let the tables of y follow the trained weights."""
        network = self.run.network.eval()
        with self.run.arithmetic():
            self.run.rate.recount(network, (self.source.next_batch(self._pixels) for _ in range(COUNTED)))

    def state(self) -> dict[str, Any]:
        return {"crops": self.source.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.load_state(state["crops"])


def _middle(x: Tensor, side: int) -> Tensor:
    """The middle square of a photo [1, 3, H, W], shrunk or enlarged to `side` pixels."""
    short = min(x.shape[-2:])
    top, left = ((length - short) // 2 for length in x.shape[-2:])
    square = x[..., top : top + short, left : left + short]
    return F.interpolate(square, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
