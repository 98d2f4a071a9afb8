"""The last stage: all but CLTG is frozen, so the bits and the full version stay what they are; CLTG learns what the
protected and the machine condition add to the synthesis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from psic_cli.networks.backbone import PICTURE_MULTIPLE, clamp_z
from psic_cli.networks.cltg import WITNESS_SIDE
from psic_cli.networks.layers import pad_to_multiple
from psic_cli.search.views import Journey
from psic_cli.training import distributed
from psic_cli.training.compression import VALIDATION_LEVELS
from psic_cli.training.data import OBLONG, TONED, ScaleSource, read_large, read_pairs, read_photos
from psic_cli.training.losses import added_distortion, decibels, recognition, shown
from psic_cli.training.multi_objective import Budgets, combine_at
from psic_cli.training.run import Run
from psic_cli.training.shield import Surrogates, shield_loss

SIDES = [224, 224, 256, 256, 320, 448]  # pixels, one is drawn for each batch
LARGE_SIDES = [640, 896, 1280]  # also drawn, the larger the less often, where the data has large photos
PICTURE_PIXELS = 224 * 224  # that count as one picture of a batch
BANDS = 4  # ranges of quality levels, each with budgets of its own: what a condition costs differs between them
MACHINE_DB = 0.5  # what the machine version may lose against the full one
MACHINE_LEVELS = 2.5  # power of the uniform numbers that its levels are drawn by: low ones, where it helps, more often
COSINE = 40.0  # what a cosine of 1 is worth beside a whole budget, to begin with; the budget's weight finds the balance
WITHIN, BEYOND = 0.5, 2.0  # price of a budget's share, and what is added above the limit: no picture pays for others
JUDGED = {224: 32, 1280: 8}  # held-out pictures for validation by their side in pixels, where there are such


class ConditionsStage:
    """Loss: how well surrogates still understand the protected version, and how far they read the machine version
    otherwise than the original; and what both lose against the full version, weighted so that budgets are kept.

    The full condition is the origin of CLTG, where its biases are zero whatever it learns: it needs no loss.
    """

    name = "conditions"

    def __init__(self, run: Run) -> None:
        self.run, self.config, self.network = run, run.config.conditions, run.network
        self.cltg = self.network.cltg
        assert self.cltg is not None
        self.surrogates = Surrogates(self.config.vlps, run.device)
        self.judges = Surrogates(self.config.judges, run.device)
        seed = run.config.seed + 1000 * distributed.rank()
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.journey = Journey(self.generator)
        self.limits = {"protected": self.config.budget_db, "machine": MACHINE_DB}
        self.budgets = {name: Budgets(BANDS, self.config.budget_weight, pace=0.02) for name in self.limits}
        self._read_pictures(seed)
        self.network.eval().requires_grad_(False)
        self.cltg.requires_grad_(True)

    def _read_pictures(self, seed: int) -> None:
        data, device = self.run.config.data, self.run.device
        photos, held_out = read_photos(data.photos)
        pairs, large = read_pairs(data.pairs, "train"), read_large(data.large)
        held_out = [pair.rgb for pair in read_pairs(data.pairs, "val")] or held_out or photos
        sides = SIDES + (LARGE_SIDES if large[0] else [])
        pictures = photos + [pair.rgb for pair in pairs] + large[0]
        self.captions: list[list[str]] = [[]] * len(photos) + [pair.captions for pair in pairs] + [[]] * len(large[0])
        pixels = self.config.batch * PICTURE_PIXELS
        self.source = ScaleSource(pictures, sides, pixels, seed, device, data.workers, TONED, OBLONG)
        largest = max(sides) if self.config.scale_condition else min(sides)
        self.network.set_largest_side(largest)
        self.held_out = {
            side: ScaleSource(pictures, [side], count * side**2, 0, device).next_batch().x
            for (side, count), pictures in zip(JUDGED.items(), (held_out, large[1]), strict=True)
            if pictures
        }

    def begin(self) -> None:
        """All conditions start where the network has them."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.cltg.parameters())}]

    @torch.no_grad()
    def latents(self, x: Tensor, level: Tensor) -> Tensor:
        """What a decoder has of pictures [B, 3, H, W] in files at levels [B]: y_hat."""
        network = self.network
        with self.run.arithmetic():
            y, z = network.analyse(pad_to_multiple(x, PICTURE_MULTIPLE), network.quality(level))
        symbols, prediction = network.code(network.scale(y.float(), level), clamp_z(z.float()), level)
        return network.restore(symbols, prediction, level)

    def decode(self, y_hat: Tensor, size: Sequence[int], level: Tensor, strength: Tensor, machine: Tensor) -> Tensor:
        """Latents of pictures of a size -> float32 [B, 3, H, W], not clamped. level, strength, machine: [B]."""
        scale = math.log2(min(size) / WITNESS_SIDE) if self.config.scale_condition else 0.0
        quality = self.network.quality(level)
        condition = torch.stack([strength, machine, torch.full_like(strength, scale), quality], dim=1)
        with self.run.arithmetic():
            return self.network.synthesise(y_hat, condition).float()[..., : size[0], : size[1]]

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        batch = self.source.next_batch()
        x = batch.x.contiguous(memory_format=torch.channels_last)
        models = self.surrogates.draw(self.config.surrogates_per_step, self.generator)
        with self.run.arithmetic(), torch.no_grad():
            originals = [model.encode_image(x) for model in models]
        captions = self._captions(models, originals, batch.numbers) if self.config.shield == "uaeo" else None
        parts, figures = [], {}
        for name, limit_db in self.limits.items():
            level, strength, machine = self._draw_condition(name, len(x))
            y_hat, none = self.latents(x, level), torch.zeros_like(strength)
            with torch.no_grad():
                x_full = self.decode(y_hat, x.shape[2:], level, none, none)
            x_hat = self.decode(y_hat, x.shape[2:], level, strength, machine)
            seen = self.journey(shown(x_hat))
            with self.run.arithmetic():
                if name == "protected":
                    wrong, cosine = shield_loss(models, seen, originals, captions, self.config.uaeo_weight)
                else:
                    cosine = recognition(models, seen, originals)
                    wrong = 1 - cosine
            # Shares of the whole budget: what is spent, and beyond what a condition of that strength may spend.
            spent = added_distortion(x_hat, x_full, x) / (10 ** (limit_db / 20) - 1)
            parts.append(self._weigh(self.budgets[name], x_hat, wrong, spent, spent - strength - machine, level))
            mse_full, mse = ((version - x).square().mean((1, 2, 3)) for version in (x_full, x_hat))
            figures[f"{name}_lost_db"] = (decibels(mse) - decibels(mse_full)).mean().item()
            figures[f"{name}_cosine"] = cosine.mean().item()
            figures[f"{name}_weight"] = sum(self.budgets[name].state()) / BANDS
        return torch.stack(parts).sum(), figures

    def _draw_condition(self, name: str, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Quality levels, strengths, in half of all cases the whole, and preferences for machines: [count] each."""
        drawn, other = torch.rand(2, count, device=self.run.device)
        if name == "machine":
            return (self.network.levels * drawn**MACHINE_LEVELS).long(), 0 * other, 0 * other + 1
        return (self.network.levels * drawn).long(), (2 - 2 * other).clamp_max(1), 0 * other

    def _captions(self, models: Sequence[Any], originals: list[Tensor], numbers: list[int]) -> list[Tensor]:
        """For each model what the pictures show: one of their captions, or the likeliest class."""
        drawn = torch.rand(len(numbers), generator=self.generator).tolist()
        of_each = [self.captions[number] for number in numbers]
        texts = [own[int(share * len(own))] if own else None for own, share in zip(of_each, drawn, strict=True)]
        return [self.surrogates.captions(m, seen, texts) for m, seen in zip(models, originals, strict=True)]

    def _weigh(
        self, budgets: Budgets, x_hat: Tensor, wrong: Tensor, spent: Tensor, excess: Tensor, level: Tensor
    ) -> Tensor:
        """What a condition is for and what it costs as one loss: adaptively, or as a comparison has it. All [B]."""
        aim, cost = COSINE * wrong.mean(), WITHIN * spent + BEYOND * excess.clamp_min(0)
        if self.config.objective == "mgda":
            return combine_at(x_hat, [aim, excess.clamp_min(0).mean()])[0]
        if self.config.objective == "fixed":
            return aim + self.config.budget_weight * cost.mean()
        band = level * BANDS // self.network.levels
        weighed = aim + (budgets.weight(band) * cost).mean()
        budgets.update(excess, band)
        return weighed

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Of every version at three levels, on pictures that training never sees: PSNR; cosine to the original, and
        share of pictures taken for the same class, as surrogates and as judges see it.
        """
        results: dict[str, float] = {}
        versions = {"full": (0.0, 0.0), "protected": (1.0, 0.0), "half": (0.5, 0.0), "machine": (0.0, 1.0)}
        for side, x in self.held_out.items():
            at = "" if side == min(JUDGED) else f"_at_{side}"
            for number in sorted({min(level, self.network.levels - 1) for level in VALIDATION_LEVELS}):
                level = torch.full((len(x),), number, device=x.device)
                y_hat = self.latents(x, level)
                for name, asked in versions.items():
                    strength, machine = (torch.full((len(x),), value, device=x.device) for value in asked)
                    x_hat = shown(self.decode(y_hat, x.shape[2:], level, strength, machine))
                    psnr = -decibels((x_hat - x).square().mean((1, 2, 3)))
                    results[f"{name}{number}_psnr{at}"] = psnr.mean().item()
                    for suffix, group in (("", self.surrogates), ("_judges", self.judges)):
                        if group.models:
                            with self.run.arithmetic():
                                cosine, agreement = group.understood(x_hat, x)
                            results[f"{name}{number}_cosine{suffix}{at}"] = cosine
                            results[f"{name}{number}_agree{suffix}{at}"] = agreement
        return results

    def finish(self) -> None:
        """Nothing depends on what this stage has learned."""

    def state(self) -> dict[str, Any]:
        return {
            "pictures": self.source.state(),
            "generator": self.generator.get_state(),
            "budgets": {name: budgets.state() for name, budgets in self.budgets.items()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.load_state(state["pictures"])
        self.generator.set_state(state["generator"].cpu())
        for name, weights in state["budgets"].items():
            self.budgets[name].load_state(weights)
