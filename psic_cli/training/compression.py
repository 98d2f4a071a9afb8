"""The first two stages: rate and distortion of the full version at all quality levels, and the same of really rounded
latents.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.networks.cltg import CONDITIONS
from psic_cli.training import distributed
from psic_cli.training.config import StageConfig
from psic_cli.training.data import CropSource, read_large, read_pairs, read_photos, to_tensor
from psic_cli.training.run import Run
from psic_cli.training.units import Watch

VALIDATION_LEVELS = (8, 32, 56)
VALIDATION_SIDES = (256, 640)  # pixels: corners of photos, and the middles of large ones, shrunk
REFERENCE_LAMBDA = 0.008  # the middle of the range, on a log scale
FITTED_TO, STARTED_FROM = 40, 2  # batches: the density of z, where an exported model goes on, and an untrained network
COUNTED = 70  # batches: symbols of y, at the end


def lambda_of(level: Tensor, low: float, high: float, levels: int) -> Tensor:
    """Weight of 255^2 MSE against bits per pixel at a quality level, log-spaced."""
    return low * (high / low) ** (level.float() / (levels - 1))


class CompressionStage:
    """Loss: bpp + lambda * 255^2 * MSE, each sample at a level of its own, with noise in place of rounding where the
    rate is measured.

    Samples are weighted by lambda^-0.4: the loss of a small file is ten times smaller than that of a large one, but
    what people compare (BD-rate) is relative.
    """

    name = "compression"

    def __init__(self, run: Run) -> None:
        self.run, self.config = run, self._settings(run)
        data, seed = run.config.data, run.config.seed + 1000 * distributed.rank()
        photos, held_out_photos = read_photos(data.photos)
        large, held_out_large = read_large(data.large)
        paired = [pair.rgb for pair in read_pairs(data.pairs, "train")]
        crop, batch = self.config.crop, self.config.batch
        self.source = CropSource(photos + large + paired, crop, batch, seed, run.device, data.workers, data.drawn)
        side, larger = VALIDATION_SIDES
        held_out = [to_tensor(rgb[:side, :side])[None] for rgb in held_out_photos]
        self.held_out = {side: [x for x in held_out if x.shape[-2:] == (side, side)]}
        self.held_out[larger] = [_middle(to_tensor(rgb)[None], larger) for rgb in held_out_large]
        run.network.train()
        run.rate.train()
        self._cost = run.compiled(self.cost)

    def _settings(self, run: Run) -> StageConfig:
        return run.config.compression

    def begin(self) -> None:
        """Before the first step."""
        if self.run.config.start_from:
            self.run.rate.fit_prior(self.run.network, self._batches(FITTED_TO))
        else:
            self.run.rate.start_from(self.run.network, self._batches(STARTED_FROM))

    def _batches(self, count: int) -> Tensor:
        return torch.cat([self.source.next_batch() for _ in range(count)])

    def parameter_groups(self) -> list[dict[str, Any]]:
        prior = list(self.run.rate.parameters())
        return [{"params": list(self.trained())}, {"params": prior, "factor": 5.0}]

    def trained(self) -> list[nn.Parameter]:
        """What moves, of the network."""
        return list(self.run.network.parameters())

    def code(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W], levels [B] -> bits per pixel [B], the full version float32 [B, 3, H, W]."""
        network = self.run.network
        others = torch.zeros(len(x), CONDITIONS - 1, device=x.device)
        condition = torch.cat([others, network.config.quality(level)[:, None]], dim=1)  # the quality comes last
        with self.run.arithmetic():
            y_hat, y_bits, z_bits = self.run.rate(network, x, level)
            x_hat = network.synthesise(y_hat, condition)
        return (y_bits.sum(1) + z_bits) / (x.shape[2] * x.shape[3]), x_hat.float()

    def cost(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 3, H, W], levels [B] -> the loss, bits per pixel [B], mean square error of values in 0..255 [B]."""
        config = self.run.config
        bpp, x_hat = self.code(x, level)
        mse = 255**2 * (x_hat - x).square().mean((1, 2, 3))
        weight = lambda_of(level, config.lambda_low, config.lambda_high, config.network.levels)
        share = (REFERENCE_LAMBDA / weight) ** 0.4
        return ((bpp + weight * mse) * share).mean(), bpp, mse

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        x = self.source.next_batch()
        level = torch.randint(self.run.network.config.levels, (len(x),), device=x.device)
        loss, bpp, mse = self._cost(x, level)
        return loss, {"bpp": bpp.mean().item(), "mse255": mse.mean().item()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Bits per pixel of rounded latents and PSNR at three levels, on pictures that training never sees; and how
        many units of the network are dead.
        """
        results: dict[str, float] = {}
        noisy = self.run.rate.training
        self.run.rate.eval()
        with Watch(self.run.network) as watch:
            for side, pictures in self.held_out.items():
                suffix = "" if side == VALIDATION_SIDES[0] else f"_at_{side}"
                for number in VALIDATION_LEVELS if pictures else ():
                    level = torch.tensor([number], device=self.run.device)
                    found = [self._figures(x.to(self.run.device), level) for x in pictures]
                    for key in found[0]:
                        results[f"{key}{number}{suffix}"] = sum(figures[key] for figures in found) / len(found)
        self.run.rate.train(noisy)
        return results | {"dead_units": float(watch.dead)}

    def _figures(self, x: Tensor, level: Tensor) -> dict[str, float]:
        """Of one picture [1, 3, H, W]."""
        bpp, x_hat = self.code(x, level)
        return {"bpp": bpp.item(), "psnr": -10 * (x_hat - x).square().mean().log10().item()}

    @torch.no_grad()
    def finish(self) -> None:
        """Make the tables of y those of the trained weights."""
        network = self.run.network.eval()
        with self.run.arithmetic():
            self.run.rate.count(network, (self.source.next_batch() for _ in range(COUNTED)))

    def state(self) -> dict[str, Any]:
        return {"crops": self.source.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.load_state(state["crops"])


class RoundingStage(CompressionStage):
    """The encoder is frozen, and all that a decoder has learns from the latents that files hold: their rate is measured
    rounded, and in exact arithmetic.
    """

    name = "rounding"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        run.rate.eval()
        run.network.g_a.requires_grad_(False)
        run.network.h_a.requires_grad_(False)

    def _settings(self, run: Run) -> StageConfig:
        return run.config.rounding

    def begin(self) -> None:
        """Nothing: it goes on with the network of the stage before it."""

    def trained(self) -> list[nn.Parameter]:
        frozen = {id(p) for part in (self.run.network.g_a, self.run.network.h_a) for p in part.parameters()}
        return [p for p in super().trained() if id(p) not in frozen]


def _middle(x: Tensor, side: int) -> Tensor:
    """The middle square of a photo [1, 3, H, W], shrunk or enlarged to `side` pixels."""
    short = min(x.shape[-2:])
    top, left = ((length - short) // 2 for length in x.shape[-2:])
    square = x[..., top : top + short, left : left + short]
    return F.interpolate(square, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
