"""Stage 2: encoder and entropy network are frozen, so the bits stay what they are; the synthesis and CLTG learn the
versions.

    full       D(y_hat, strength 0)                  as close to the original as it gets
    protected  D(public + means, strength 0..1)      misread by the surrogates, within a distortion budget
    machine    D(y_hat, machine 1)                   embeddings as the original's (UG-ICM)
    forced     D(public + means, strength 0)         what somebody without the key can ask for: made useless to a model
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from psic_cli.networks.cltg import WITNESS_SIDE
from psic_cli.networks.layers import pad_to_multiple
from psic_cli.networks.network import PICTURE_MULTIPLE, clamp_z
from psic_cli.training.compression import VALIDATION_LEVELS
from psic_cli.training.data import ScaleSource, is_held_out, list_pictures, read_pairs, read_rgb
from psic_cli.training.losses import Budget, decibels, recognition, shown, visibility
from psic_cli.training.private import make_private
from psic_cli.vlp.interface import VisionLanguageModel, load_vlp

if TYPE_CHECKING:
    from psic_cli.training.loop import Run

SIDES = [224, 224, 224, 256, 320, 448]  # pixels, one is drawn for each batch
LARGE_SIDES = [640, 896]  # also drawn where the data has large photos
PIXELS = 8 * 224 * 224  # per batch
EXTRA_EVERY = 4  # machine and forced decodes take turns, each in one step of so many
VISIBLE = 0.5  # of the protected version's distortion: change that people see, weighted by where they see it
BUDGETS = 4  # ranges of quality levels, each with a weight of its own: what a shield costs differs between them


def allowed_loss(full_psnr: Tensor, budget_db: float) -> Tensor:
    """Decibels that the protected version may lose: the budget, and half of what the full version has above 33 dB.

    Where the full version is excellent, sealing a tenth of the bits alone costs more than the budget.
    """
    return budget_db + 0.5 * (full_psnr - 33.0).clamp_min(0)


class ProtectionStage:
    """Loss, in decibels where not said otherwise:

    FULL * distortion(full) + budget weight * distortion(protected) + SHIELD * strength * cosine(protected, original)
    + the extra versions.
    """

    name = "protection"
    FULL = 3.0  # so that the full version keeps its quality beside all the others
    SHIELD = 20.0  # decibels that a cosine of 1 is worth; the budget's weight finds the balance

    def __init__(self, run: Run, fresh: bool) -> None:
        self.run, self.config = run, run.config.protection
        if fresh and run.network.config.private == 0:
            make_private(run, self.config.private_share)
        self.vlps: list[VisionLanguageModel] = [load_vlp(spec, run.device) for spec in self.config.vlps]
        data = run.config.data
        photos = [read_rgb(p) for p in list_pictures(data.photos) if not is_held_out(p)]
        pairs = [pair.rgb for pair in read_pairs(Path(data.pairs), "train")] if data.pairs else []
        held_out = [pair.rgb for pair in read_pairs(Path(data.pairs), "val")] if data.pairs else []
        large = [read_rgb(p) for p in list_pictures(data.large)] if data.large else []
        sides = SIDES + (LARGE_SIDES if large else [])
        self.source = ScaleSource(photos + pairs + large, sides, run.config.seed)
        run.network.config = replace(run.network.config, largest_side=max(sides))
        self.held_out = ScaleSource(held_out[:64] or photos[:64], [224], seed=0)
        self.budgets = [Budget(weight=2.0, pace=0.03) for _ in range(BUDGETS)]
        self.steps = 0
        run.network.requires_grad_(False).eval()
        run.network.g_s.requires_grad_(True).train()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.run.network.g_s.parameters())}]

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        network = self.run.network
        x = self.source.next_batch(PIXELS).to(self.run.device, memory_format=torch.channels_last)
        level = torch.randint(network.config.levels, (len(x),), device=x.device)
        strength = torch.rand(len(x), 1, device=x.device)
        strength = torch.where(torch.rand_like(strength) < 0.5, torch.ones_like(strength), strength)
        scale = torch.full_like(strength, math.log2(x.shape[2] / WITNESS_SIDE))
        none = torch.zeros_like(strength)
        band = level * BUDGETS // network.config.levels
        weight = torch.tensor([budget.weight for budget in self.budgets], device=x.device)[band]
        with torch.autocast(x.device.type, torch.bfloat16):
            with torch.no_grad():
                y_full, y_public = self._latents(x, level)
                originals = [vlp.encode_image(x) for vlp in self.vlps]
            x_full = self._decode(y_full, none, none, scale)
            full = decibels((x_full - x).square().mean((1, 2, 3)))
            x_protected = self._decode(y_public, strength, none, scale)
            protected = decibels((x_protected - x).square().mean((1, 2, 3)))
            seen = recognition(self.vlps, self._diversify(shown(x_protected)), originals)
            seen_change = decibels(visibility(x_protected - x_full.detach(), x))
            distortion = (1 - VISIBLE) * protected + VISIBLE * seen_change
            loss = self.FULL * full.mean() + (weight * distortion).mean() + self.SHIELD * (strength[:, 0] * seen).mean()
            figures = {
                "full": -full.mean().item(),
                "protected": -protected.mean().item(),
                "cosine": seen[strength[:, 0] == 1].mean().item() if bool((strength == 1).any()) else 0.0,
                "budget_weight": weight.mean().item(),
            }
            if self.steps % EXTRA_EVERY == 0:
                x_machine = self._decode(y_full, none, torch.ones_like(none), scale)
                cosine = recognition(self.vlps, shown(x_machine), originals)
                machine = decibels((x_machine - x).square().mean((1, 2, 3)))
                loss = loss + self.SHIELD * (1 - cosine).mean() + machine.mean()
            elif self.steps % EXTRA_EVERY == EXTRA_EVERY // 2:
                # Both have the full version's condition: what spoils one must not spoil the other.
                forced = recognition(self.vlps, shown(self._decode(y_public, none, none, scale)), originals)
                kept = recognition(self.vlps, shown(x_full), originals)
                loss = loss + self.SHIELD * (self.config.forced_weight * forced + 1 - kept).mean()
        strongest = strength[:, 0] == 1
        if bool(strongest.any()):
            excess = (protected - full).detach() - allowed_loss(-full.detach(), self.config.budget_db)
            for number, budget in enumerate(self.budgets):
                concerned = strongest & (band == number)
                if bool(concerned.any()):
                    budget.update(excess[concerned].mean().item())
        self.steps += 1
        return loss, figures

    def _latents(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """What a decoder has with the key, and without it: each y_hat [B, M, h, w]."""
        network = self.run.network
        y, z = network.analyse(pad_to_multiple(x, PICTURE_MULTIPLE))
        with torch.autocast(x.device.type, enabled=False):
            mean, _ = network.predict(clamp_z(z.float()), level)
            symbols = network.quantise(y.float(), mean, level)
            full = network.restore(symbols, mean, level)
            symbols[:, network.config.latents - network.config.private :] = 0
            return full, network.restore(symbols, mean, level)

    def _decode(self, y_hat: Tensor, strength: Tensor, machine: Tensor, scale: Tensor) -> Tensor:
        x_hat = self.run.network.g_s(y_hat, torch.cat([strength, machine, scale], dim=1)).float()
        side = round(WITNESS_SIDE * 2.0 ** float(scale[0]))
        return x_hat[:, :, :side, :side]

    def _diversify(self, x: Tensor) -> Tensor:
        """What may happen to a picture on its way to a model: shrunk by up to a half, a little noise."""
        if self.source.generator.random() < 0.5:
            side = int(x.shape[2] * self.source.generator.uniform(0.5, 1.0))
            x = torch.nn.functional.interpolate(x, (side, side), mode="bicubic", antialias=True, align_corners=False)
        if self.source.generator.random() < 0.3:
            x = x + torch.randn_like(x) * self.source.generator.uniform(0, 0.03)
        return x

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR and cosine to the original of every version at three levels, on pictures that training never sees."""
        results: dict[str, float] = {}
        self.held_out.generator = np.random.default_rng(0)
        x = self.held_out.next_batch(32 * 224 * 224).to(self.run.device)
        none, one = torch.zeros(len(x), 1, device=x.device), torch.ones(len(x), 1, device=x.device)
        for number in VALIDATION_LEVELS:
            y_full, y_public = self._latents(x, torch.full((len(x),), number, device=x.device))
            decodes = {
                "full": (y_full, none, none),
                "protected": (y_public, one, none),
                "machine": (y_full, none, one),
                "forced": (y_public, none, none),
            }
            for name, (y_hat, strength, machine) in decodes.items():
                x_hat = shown(self._decode(y_hat, strength, machine, none))
                seen = recognition(self.vlps, x_hat, [vlp.encode_image(x) for vlp in self.vlps]).mean().item()
                results[f"{name}{number}_psnr"] = -decibels((x_hat - x).square().mean((1, 2, 3))).mean().item()
                results[f"{name}{number}_cosine"] = seen
        return results

    def state(self) -> dict[str, Any]:
        return {
            "pictures": self.source.generator.bit_generator.state,
            "budgets": [budget.weight for budget in self.budgets],
            "steps": self.steps,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.generator.bit_generator.state = state["pictures"]
        for budget, weight in zip(self.budgets, state["budgets"], strict=True):
            budget.weight = weight
        self.steps = state["steps"]
