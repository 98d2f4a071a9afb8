"""Stage 1: rate and distortion of the full version at all quality levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from psic_cli import zoo
from psic_cli.networks.cltg import CONDITIONS, QUALITY
from psic_cli.training import distributed
from psic_cli.training.data import CropSource, read_large, read_pairs, read_photos, to_tensor
from psic_cli.training.diversity import resize
from psic_cli.training.losses import misread, shown
from psic_cli.training.private import make_private
from psic_cli.training.shield import Surrogates
from psic_cli.vlp.interface import VisionLanguageModel

if TYPE_CHECKING:
    from psic_cli.training.loop import Run

VALIDATION_LEVELS = (8, 32, 56)
VALIDATION_SIDES = (256, 640)  # pixels: corners of photos, and the middles of large ones, shrunk
# Beside the configuration's crop, where there are large photos: so that the entropy network, which looks far, learns
# what lies beyond it
LARGER_CROPS = [384, 512, 640]
# Beside it too, where there are pictures with captions, which are small: they are most of what there is to see
SMALLER_CROP = 192
REFERENCE_LAMBDA = 0.008  # the middle of the range, on a log scale
# Share of the steps after which the sealed latents are chosen: early enough for the context models to learn to do
# without them and with the new order of the others, late enough to know what each latent is worth
SEALED_AFTER = 0.5
# Of the quality levels: below, readability counts less and less, there the machine version is for models
READ_FROM = 0.5
FITTED_TO, STARTED_FROM = 40, 2  # batches: the density of z, where an exported model goes on, and an untrained network
COUNTED = 70  # batches: symbols of y, at the end
# Share of the learning rate for the biases of blocks: what a unit adds is mostly noise at first, and the quickest way
# to end that is a bias that shuts its ReLU for good
BIAS_RATE = 0.2
LOOKED_AT = 0.5  # share of a batch that a model reads, to save time


def lambda_of(level: Tensor, low: float, high: float, levels: int) -> Tensor:
    """Weight of 255^2 MSE against bits per pixel at a quality level, log-spaced."""
    return low * (high / low) ** (level.float() / (levels - 1))


class CompressionStage:
    """Loss: bpp + lambda * 255^2 * MSE * (1 + readable * (1 - cosine)), each sample at a level of its own.

    Samples are weighted by lambda^-0.4: the loss of a small file is ten times smaller than that of a large one, but
    what people compare (BD-rate) is relative. Half-way, some latents become the sealed ones.

    The cosine is between what a model sees in the picture and in the original. At the optimum of rate and distortion a
    step aside costs them next to nothing, and what models read is far from its own optimum there.
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
        self.steps = 0
        run.network.train()
        self.readers = Surrogates(run.config.protection.vlps if self.config.readable else [], run.device)
        self.generator = np.random.default_rng(seed + 2)
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
        network = self.run.network
        # Where a run begins without sealed latents, the layer that looks at their symbols is made on the way, and waits
        # for the second stage.
        made_later = self.run.config.network.private == 0
        parameters = {name: p for name, p in network.named_parameters() if not (made_later and "from_sealed" in name)}
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
        with torch.autocast(x.device.type, torch.bfloat16):
            y_hat, _, y_bits, z_bits = self.run.rate(network, x, level)
            x_hat = network.synthesise(y_hat, condition)
        return (y_bits.sum(1) + z_bits) / (x.shape[2] * x.shape[3]), x_hat.float()

    def _figures(self, x: Tensor, level: Tensor) -> dict[str, float]:
        """Of one picture [1, 3, H, W]."""
        bpp, x_hat = self.code(x, level)
        figures = {"bpp": bpp.item(), "psnr": -10 * (x_hat - x).square().mean().log10().item()}
        if self.config.readable:
            figures["misread"] = _misread(self.readers.models, x, x_hat).item()
        return figures

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        config = self.run.config
        if self.steps == int(SEALED_AFTER * self.config.steps) and self.run.network.config.private == 0:
            make_private(self.run, config.protection.private_share)
            self.run.network.train()
        self.steps += 1
        x = self.source.next_batch(self._pixels).contiguous(memory_format=torch.channels_last)
        level = torch.randint(config.network.levels, (len(x),), device=x.device)
        bpp, x_hat = self.code(x, level)
        mse = (x_hat - x).square().mean((1, 2, 3))
        figures = {"bpp": bpp.mean().item(), "mse255": 255**2 * mse.mean().item()}
        weight = lambda_of(level, config.lambda_low, config.lambda_high, config.network.levels)
        share = (REFERENCE_LAMBDA / weight) ** 0.4
        loss = ((bpp + weight * 255**2 * mse) * share).mean()
        if self.config.readable:
            count = math.ceil(LOOKED_AT * len(x))
            lost = _misread(self.readers.draw(1, self.generator), x[:count], x_hat[:count])
            faded = (config.network.quality(level) / READ_FROM).clamp_max(1)
            worth = self.config.readable * weight * 255**2 * mse.detach() * share * faded
            loss = loss + (worth[:count] * lost).mean()
            figures["misread"] = lost.mean().item()
        return loss, figures

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
        """Let what depends on the trained weights follow them: the other versions' synthesis of the model that this run
        started from, which takes over what its full version has learned, and the tables of y.
        """
        run, network = self.run, self.run.network.eval()
        if run.config.start_from and network.g_p is not None:
            before = zoo.load_card(zoo.read_card(Path(run.config.start_from))).network.g_s
            for name, learned in network.g_s.named_parameters():
                change = learned - before.get_parameter(name).to(learned.device)
                network.g_p.get_parameter(name).add_(change)
        run.rate.recount(network, (self.source.next_batch(self._pixels) for _ in range(COUNTED)))

    def state(self) -> dict[str, Any]:
        return {
            "crops": self.source.state(),
            "steps": self.steps,
            "generator": dict(self.generator.bit_generator.state),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.load_state(state["crops"])
        self.steps = state["steps"]
        self.generator.bit_generator.state = state["generator"]


def _misread(models: Sequence[VisionLanguageModel], x: Tensor, x_hat: Tensor) -> Tensor:
    """How far models misread decoded pictures of originals, [B, 3, H, W] both: see `losses.misread`."""
    with torch.autocast(x.device.type, torch.bfloat16):
        return misread(models, shown(x_hat), x)


def _middle(x: Tensor, side: int) -> Tensor:
    """The middle square of a photo [1, 3, H, W], shrunk or enlarged to `side` pixels."""
    short = min(x.shape[-2:])
    top, left = ((length - short) // 2 for length in x.shape[-2:])
    return resize(x[..., top : top + short, left : left + short], side, side).clamp(0, 1)
