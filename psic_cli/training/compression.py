"""Stage 1: rate and distortion of the full version at all quality levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from psic_cli.training import distributed
from psic_cli.training.data import CropSource, is_held_out, list_pictures, read_rgb, to_tensor

if TYPE_CHECKING:
    from psic_cli.training.loop import Run

VALIDATION_LEVELS = (8, 32, 56)
REFERENCE_LAMBDA = 0.0089  # the middle of the range, on a log scale


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
        paths = list_pictures(run.config.data.photos)
        seen = [p for p in paths if not is_held_out(p)]
        self.source = CropSource(seen, self.config.crop, run.config.seed + 1000 * distributed.rank(), run.device)
        self.held_out = [to_tensor(read_rgb(p)[:256, :256])[None] for p in paths if is_held_out(p)]
        self.held_out = [x for x in self.held_out if x.shape[-2:] == (256, 256)]
        run.network.train()
        if fresh and not run.config.start_from:
            run.rate.start_from(run.network, self.source.next_batch(16))

    def parameter_groups(self) -> list[dict[str, Any]]:
        prior = list(self.run.rate.parameters())
        return [{"params": list(self.run.network.parameters())}, {"params": prior, "factor": 5.0}]

    def rate_and_distortion(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W], levels [B] -> bits per pixel [B], MSE [B] of the full version."""
        network = self.run.network
        condition = torch.zeros(len(x), 3, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            y_hat, _, y_bits, z_bits = self.run.rate(network, x, level)
            x_hat = network.synthesise(y_hat, condition)
        return (y_bits.sum(1) + z_bits) / (x.shape[2] * x.shape[3]), (x_hat.float() - x).square().mean((1, 2, 3))

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        config = self.run.config
        x = self.source.next_batch(self.config.batch).contiguous(memory_format=torch.channels_last)
        level = torch.randint(config.network.levels, (len(x),), device=x.device)
        bpp, mse = self.rate_and_distortion(x, level)
        weight = lambda_of(level, config.lambda_low, config.lambda_high, config.network.levels)
        losses = (bpp + weight * 255**2 * mse) * (REFERENCE_LAMBDA / weight) ** 0.4
        return losses.mean(), {"bpp": bpp.mean().item(), "mse255": 255**2 * mse.mean().item()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        results: dict[str, float] = {}
        for number in VALIDATION_LEVELS if self.held_out else ():
            pairs = []
            for x in self.held_out:
                bpp, mse = self.rate_and_distortion(
                    x.to(self.run.device), torch.tensor([number], device=self.run.device)
                )
                pairs.append((bpp.item(), -10 * mse.log10().item()))
            results[f"bpp{number}"] = sum(b for b, _ in pairs) / len(pairs)
            results[f"psnr{number}"] = sum(p for _, p in pairs) / len(pairs)
        return results

    def state(self) -> dict[str, Any]:
        return {"crops": self.source.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.load_state(state["crops"])
