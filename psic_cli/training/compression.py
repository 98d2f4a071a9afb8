"""Stage 1: rate and distortion of the full version at all quality levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from psic_cli.networks.cltg import CONDITIONS
from psic_cli.training import distributed
from psic_cli.training.data import CropSource, read_large, read_photos, to_tensor
from psic_cli.training.diversity import resize
from psic_cli.training.private import make_private

if TYPE_CHECKING:
    from psic_cli.training.loop import Run

VALIDATION_LEVELS = (8, 32, 56)
VALIDATION_SIDES = (256, 640)  # pixels: corners of photos, and the middles of large ones, shrunk
# Beside the configuration's crop, where there are large photos: so that the wide view also learns what lies beyond it
LARGER_CROPS = [384, 512, 640]
REFERENCE_LAMBDA = 0.0089  # the middle of the range, on a log scale
# Share of the steps after which the sealed latents are chosen: early enough for the context models to learn to do
# without them and with the new order of the others, late enough to know what each latent is worth
SEALED_AFTER = 0.5


def lambda_of(level: Tensor, low: float, high: float, levels: int) -> Tensor:
    """Weight of 255^2 MSE against bits per pixel at a quality level, log-spaced."""
    return low * (high / low) ** (level.float() / (levels - 1))


class CompressionStage:
    """Loss: bpp + lambda * 255^2 * MSE, each sample at a level of its own.

    Samples are weighted by lambda^-0.4: the loss of a small file is ten times smaller than that of a large one, but
    what people compare (BD-rate) is relative. Half-way, some latents become the sealed ones.
    """

    name = "compression"

    def __init__(self, run: Run, fresh: bool) -> None:
        self.run, self.config = run, run.config.compression
        photos, held_out_photos = read_photos(run.config.data.photos)
        large, held_out_large = read_large(run.config.data.large)
        crops = [self.config.crop, *(side for side in LARGER_CROPS if large and side > self.config.crop)]
        self.source = CropSource(photos + large, crops, run.config.seed + 1000 * distributed.rank(), run.device)
        side, larger = VALIDATION_SIDES
        held_out = [to_tensor(rgb[:side, :side])[None] for rgb in held_out_photos]
        self.held_out = {side: [x for x in held_out if x.shape[-2:] == (side, side)]}
        self.held_out[larger] = [_middle(to_tensor(rgb)[None], larger) for rgb in held_out_large]
        self.steps = 0
        run.network.train()
        if fresh and not run.config.start_from:
            run.rate.start_from(run.network, self.source.next_batch(2 * self._pixels))

    @property
    def _pixels(self) -> int:
        """Of a batch."""
        return self.config.batch * self.config.crop**2

    def parameter_groups(self) -> list[dict[str, Any]]:
        prior = list(self.run.rate.parameters())
        # The layers that look at sealed symbols are made on the way, and the full version, which has them, needs none.
        network = [p for name, p in self.run.network.named_parameters() if "from_sealed" not in name]
        return [{"params": network}, {"params": prior, "factor": 5.0}]

    def rate_and_distortion(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W], levels [B] -> bits per pixel [B], MSE [B] of the full version."""
        network = self.run.network
        condition = torch.zeros(len(x), CONDITIONS, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            y_hat, _, y_bits, z_bits = self.run.rate(network, x, level)
            x_hat = network.synthesise(y_hat, condition)
        return (y_bits.sum(1) + z_bits) / (x.shape[2] * x.shape[3]), (x_hat.float() - x).square().mean((1, 2, 3))

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        config = self.run.config
        if self.steps == int(SEALED_AFTER * self.config.steps) and self.run.network.config.private == 0:
            make_private(self.run, config.protection.private_share)
            self.run.network.train()
        self.steps += 1
        x = self.source.next_batch(self._pixels).contiguous(memory_format=torch.channels_last)
        level = torch.randint(config.network.levels, (len(x),), device=x.device)
        bpp, mse = self.rate_and_distortion(x, level)
        weight = lambda_of(level, config.lambda_low, config.lambda_high, config.network.levels)
        losses = (bpp + weight * 255**2 * mse) * (REFERENCE_LAMBDA / weight) ** 0.4
        return losses.mean(), {"bpp": bpp.mean().item(), "mse255": 255**2 * mse.mean().item()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        results: dict[str, float] = {}
        for side, pictures in self.held_out.items():
            suffix = "" if side == VALIDATION_SIDES[0] else f"_at_{side}"
            for number in VALIDATION_LEVELS if pictures else ():
                level = torch.tensor([number], device=self.run.device)
                pairs = [self.rate_and_distortion(x.to(self.run.device), level) for x in pictures]
                results[f"bpp{number}{suffix}"] = sum(bpp.item() for bpp, _ in pairs) / len(pairs)
                results[f"psnr{number}{suffix}"] = sum(-10 * mse.log10().item() for _, mse in pairs) / len(pairs)
        return results

    def state(self) -> dict[str, Any]:
        return {"crops": self.source.state(), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.load_state(state["crops"])
        self.steps = state["steps"]


def _middle(x: Tensor, side: int) -> Tensor:
    """The middle square of a photo [1, 3, H, W], shrunk or enlarged to `side` pixels."""
    short = min(x.shape[-2:])
    top, left = ((length - short) // 2 for length in x.shape[-2:])
    return resize(x[..., top : top + short, left : left + short], side, side).clamp(0, 1)
