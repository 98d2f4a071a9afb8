"""Stage 2: encoder and entropy network are frozen, so the bits stay what they are; the synthesis and CLTG learn the
versions that versions.py lists.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from psic_cli.networks.thumbnails import THUMBNAIL, enlarged, thumbnail
from psic_cli.networks.visibility import visible
from psic_cli.training import distributed, machine
from psic_cli.training.compression import VALIDATION_LEVELS
from psic_cli.training.data import OBLONG, TONED, ScaleSource, read_large, read_pairs, read_photos
from psic_cli.training.diversity import Journey
from psic_cli.training.guide import guide_from
from psic_cli.training.losses import added_distortion, decibels, distortion, grid, recognition, shown
from psic_cli.training.multi_objective import Budget, combine_at, weights_for_parameters
from psic_cli.training.private import make_private
from psic_cli.training.shield import Surrogates, shield_loss
from psic_cli.training.versions import Latents, Versions
from psic_cli.vlp.interface import VisionLanguageModel

if TYPE_CHECKING:
    from psic_cli.training.loop import Run

SIDES = [224, 224, 256, 256, 320, 448]  # pixels, one is drawn for each batch
LARGE_SIDES = [640, 896, 1280]  # also drawn, the larger the less often, where the data has large photos
PICTURE_PIXELS = 224 * 224  # that count as one picture of a batch
FULL_EVERY = 2  # steps; the full version is learned in one of so many, with as much more weight: half the price
EXTRA_EVERY = 3  # steps; the machine version's turn, and the forced decode's where all versions share a synthesis
# Ranges of quality levels and of picture sizes, each with budgets of its own: what a shield costs differs between them
BANDS = 4
SIZES = [THUMBNAIL, 640]  # pixels: up to the first, up to the second, larger
# Decibels that sealing alone costs, at the lowest quality level and more at the best, and a shield on top of it: a
# limit below them cannot be kept, and all that budgets do is to grow
SEALING, SEALING_AT_BEST, LEAST_SHIELD = 0.05, 0.75, 0.9
# Share of what the full version has above 33 dB that the protected one may lose beside the budget
ABOVE = 0.35
# Share of the budget at the lowest quality level, and how fast it grows to the whole: a decibel takes more of the
# structure (MS-SSIM) from a picture that has lost much of it already
AT_LOWEST, GROWTH = 0.5, 0.85
# Of what pictures may lose whose shield is drawn on a thumbnail: it costs them more PSNR than `added_distortion` says
LARGE_SHARE = 0.94
# Share of the machine version's weight that is gone at the best quality, where it has less to mend
MACHINE_FALLS = 0.85
# Share of the quality levels, the lower ones, at which the machine version is one of its own: above, models read the
# full version as well. And the power of the uniform numbers that its levels are drawn by: low ones more often
MACHINE_BELOW, MACHINE_LEVELS = 0.72, 2.5
# Shares of the learning rate for a guide's trunk, which has learned to see already, and for its paces, a few numbers
GUIDE_RATES = (0.4, 10.0)
JUDGED = 32  # held-out pictures of 224 pixels for validation
LARGE_JUDGED = (256, 1280)  # pixels: sides at which they are compared


def allowed_loss(full_psnr: Tensor, budget_db: float, quality: Tensor, is_large: bool) -> Tensor:
    """Decibels that the protected version may lose: the budget, and ABOVE of what the full version has above 33 dB, up
    to 37 dB, and less at low quality; but never less than sealing and a small shield cost.

    Beyond 37 dB a picture is so even that it shows everything. quality: levels as 0..1. is_large: whether the shield is
    drawn on a thumbnail.
    """
    share = (AT_LOWEST + GROWTH * quality).clamp_max(1)
    wanted = share * (budget_db + ABOVE * (full_psnr - 33.0).clamp(0, 4))
    least = SEALING + SEALING_AT_BEST * quality.square() + LEAST_SHIELD * share
    return (LARGE_SHARE if is_large else 1.0) * wanted.maximum(least)


class ProtectionStage:
    """Loss, in decibels where not said otherwise:

    FULL * distortion(full) + budget weight * distortion(protected) + SHIELD * shield(protected, original) + the extra
    versions. What concerns the full version is left out where it has a synthesis of its own. A weaker shield is a share
    of the whole one, so only that is learned.
    """

    name = "protection"
    FULL = 6.0  # so that the full version keeps its quality beside all the others
    SHIELD = 40.0  # decibels that a cosine of 1 is worth; the budget's weight finds the balance
    MACHINE = 240.0  # the same for the machine version, whose pixels count little
    READABLE = 20.0  # the same for the full version in steps that look at it

    def __init__(self, run: Run, fresh: bool) -> None:
        self.run, self.config = run, run.config.protection
        if fresh and run.network.config.private == 0:
            make_private(run, self.config.private_share)
        if fresh and self.config.afresh:
            run.network.forget_conditions()
        if fresh and self.config.own_synthesis and run.network.g_p is None:
            run.network.give_own_synthesis()
        if fresh and self.config.guide and run.network.guide is None:
            run.network.give_guide(guide_from(self.config.guide, run.network.config.guide_steps))
        self.surrogates = Surrogates(self.config.vlps, run.device)
        self.judges = Surrogates(self.config.judges, run.device)
        self._read_pictures()
        self.generator = np.random.default_rng(run.config.seed + 1000 * distributed.rank() + 1)
        self.journey = Journey(self.generator)
        # One for each band and size.
        first = self.config.budget_weight
        self.budgets = [Budget(first, pace=0.02, highest=20.0) for _ in range(BANDS * (len(SIZES) + 1))]
        self.steps = 0
        self._choose_parameters()
        self.versions = Versions(run.network, self.config.scale_condition)

    def _read_pictures(self) -> None:
        run, data = self.run, self.run.config.data
        photos, _ = read_photos(data.photos)
        pairs = read_pairs(data.pairs, "train")
        large, self.held_out_large = read_large(data.large)
        sides = SIDES + (LARGE_SIDES if large else [])
        self.captions: list[list[str]] = [[]] * len(photos) + [pair.captions for pair in pairs] + [[]] * len(large)
        pictures = photos + [pair.rgb for pair in pairs] + large
        seed = run.config.seed + 1000 * distributed.rank()
        self.source = ScaleSource(pictures, sides, seed, run.device, TONED, OBLONG)
        largest = max(sides) if self.config.scale_condition else min(sides)
        machine_below = int(MACHINE_BELOW * run.network.config.levels)
        run.network.config = replace(run.network.config, largest_side=largest, machine_below=machine_below)
        held_out = [pair.rgb for pair in read_pairs(data.pairs, "val")]
        self.held_out = ScaleSource(held_out[:64] or photos[:64], [224], 0, run.device).next_batch(JUDGED * 224**2).x

    def _choose_parameters(self) -> None:
        """What is trained: the synthesis that decodes the protected version."""
        self.run.network.requires_grad_(False).eval()
        self.run.network.steered().requires_grad_(True).train()
        if self.run.network.guide is not None:
            self.run.network.guide.requires_grad_(True).train().keep_kernels()

    def parameter_groups(self) -> list[dict[str, Any]]:
        groups = [(list(self.run.network.steered().parameters()), 1.0)]
        if self.run.network.guide is not None:
            groups += zip(self.run.network.guide.parts(), GUIDE_RATES, strict=True)
        return [{"params": [p for p in group if p.requires_grad], "factor": factor} for group, factor in groups]

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        batch = self.source.next_batch(self.config.batch * PICTURE_PIXELS)
        x = batch.x.contiguous(memory_format=torch.channels_last)
        level = self._draw_levels(len(x))
        none = torch.zeros(len(x), 1, device=x.device)
        models = self.surrogates.draw(self.config.surrogates_per_step, self.generator)
        with torch.autocast(x.device.type, torch.bfloat16):
            latents = self.versions.latents(x, level)
            with torch.no_grad():
                originals = [model.encode_image(x) for model in models]
            with torch.set_grad_enabled(self._learns_full):
                x_full = self.versions.decode(latents.full, x.shape[2:], level, none)
            captions = self._captions(models, originals, batch.numbers) if self.config.shield == "uaeo" else None
            loss, figures = self._protected(x, x_full, latents, level, models, originals, captions)
            extra = self._extra(x, x_full, latents, level, models, originals)
        self.steps += 1
        return loss if extra is None else loss + extra, figures

    @property
    def _learns_full(self) -> bool:
        if self.run.network.g_p is not None:
            return False  # it stays what compression has made of it
        return self.steps % FULL_EVERY == 0 or self.config.objective == "mgda-parameters"  # which weighs all three

    def _draw_levels(self, count: int) -> Tensor:
        """Of quality, [count]: all alike, but those of the machine version in its turn, low ones more often."""
        config, drawn = self.run.network.config, torch.rand(count, device=self.run.device)
        if self._turn == "machine":
            return (config.machine_below * drawn**MACHINE_LEVELS).long()
        return (config.levels * drawn).long()

    @property
    def _turn(self) -> str | None:
        """The version that has this step beside the protected one. A full version that shares its synthesis with it has
        every other turn, together with the forced decode.
        """
        number, between = divmod(self.steps, EXTRA_EVERY)
        if between:
            return None
        return "readable" if number % 2 and self.run.network.g_p is None else "machine"

    def _captions(self, models: list[VisionLanguageModel], originals: list[Tensor], numbers: list[int]) -> list[Tensor]:
        """For each model what the pictures show: one of their captions, or the likeliest class."""
        texts = [str(self.generator.choice(own)) if (own := self.captions[number]) else None for number in numbers]
        return [self.surrogates.captions(m, seen, texts) for m, seen in zip(models, originals, strict=True)]

    def _protected(
        self,
        x: Tensor,
        x_full: Tensor,
        latents: Latents,
        level: Tensor,
        models: list[VisionLanguageModel],
        originals: list[Tensor],
        captions: list[Tensor] | None,
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of the full and the protected version, and figures."""
        full = decibels((x_full - x).square().mean((1, 2, 3)))
        x_protected, drawn = self.versions.protected(latents.public, x.shape[2:], level)
        travelled = self.journey(shown(x_protected))
        misled, cosine = shield_loss(models, travelled, originals, captions, self.config.uaeo_weight)
        shield = self.SHIELD * misled.mean()
        quality = self.run.network.config.quality(level)
        allowed = allowed_loss(-full.detach(), self.config.budget_db, quality, is_large=drawn is not None)
        if drawn is None:
            seen, repeated = visible(x), None
        else:  # what is drawn on a thumbnail hides in its detail, and repeats by its cells
            seen = visible(thumbnail(x))
            repeated = grid(drawn, seen)
            seen = enlarged(seen, *x.shape[2:]).clamp_min(0)
        added = added_distortion(x_protected, x_full, x, seen, repeated)
        # In decibels where the limit is reached, so that all pictures weigh alike there.
        added = added * allowed / (10 ** (allowed / 20) - 1)
        excess = added - allowed
        cost = 0.5 * added + 2 * excess.clamp_min(0)  # above the limit five times as much: no picture pays for others
        kept = torch.zeros_like(shield)
        if self._learns_full:
            looks = decibels(distortion(x_full, x, seen))
            kept = self.FULL * FULL_EVERY * (0.75 * full + 0.25 * looks).mean()
        protected = decibels((x_protected.detach() - x).square().mean((1, 2, 3)))
        figures = {
            "full": -full.mean().item(),
            "protected": -protected.mean().item(),
            "added": added.mean().item(),
            "cosine": cosine.mean().item(),
        }
        if self.config.objective == "mgda":
            combined, weights = combine_at(x_protected, [shield, excess.clamp_min(0).mean()])
            return kept + combined, {**figures, "shield_weight": float(weights[0])}
        if self.config.objective == "mgda-parameters":
            losses = [*([kept] if self._learns_full else []), shield, excess.clamp_min(0).mean()]
            parameters = [p for group in self.parameter_groups() for p in group["params"]]
            weights = weights_for_parameters(losses, parameters)
            total = torch.stack([w * one for w, one in zip(weights.tolist(), losses, strict=True)]).sum()
            return total, {**figures, "shield_weight": float(weights[-2])}
        if self.config.objective == "fixed":
            return kept + shield + self.config.fixed_weight * cost.mean(), figures
        group = self.run.network.config.band(level, BANDS) + BANDS * sum(min(x.shape[2:]) > size for size in SIZES)
        weight = torch.tensor([budget.weight for budget in self.budgets], device=x.device)[group]
        self._hold_budgets(excess.detach(), group)
        figures["budget_weight"] = weight.mean().item()
        return kept + shield + (weight * cost).mean(), figures

    def _hold_budgets(self, excess: Tensor, group: Tensor) -> None:
        """One step of each budget that pictures of this batch belong to, in all processes. excess, group: [B]."""
        sums = torch.zeros(2, len(self.budgets), device=excess.device)
        sums[0].index_add_(0, group, excess)
        sums[1].index_add_(0, group, torch.ones_like(excess))
        for budget, (summed, counted) in zip(self.budgets, distributed.total(sums).T.tolist(), strict=True):
            if counted:
                budget.update(summed / counted)

    def _extra(
        self,
        x: Tensor,
        x_full: Tensor,
        latents: Latents,
        level: Tensor,
        models: list[VisionLanguageModel],
        originals: list[Tensor],
    ) -> Tensor | None:
        """Loss of the version whose turn it is, if any."""
        if self._turn is None:
            return None
        number = self.steps // EXTRA_EVERY
        none = torch.zeros(len(x), 1, device=x.device)
        if self._turn == "readable":
            kept = self.READABLE * (1 - recognition(models, shown(x_full), originals)).mean()
            if not self.config.forced_weight:
                return kept
            # Both have the full version's condition: what spoils one must not spoil the other.
            y_hat = latents.forged if number % 4 == 3 else latents.public
            forced = recognition(models, shown(self.versions.decode(y_hat, x.shape[2:], level, none)), originals)
            return kept + self.SHIELD * self.config.forced_weight * forced.mean()
        turn = number // 2 if self.run.network.g_p is None else number
        x_machine = self.versions.decode(latents.full, x.shape[2:], level, none, none + 1)
        pixels = decibels((x_machine - x).square().mean((1, 2, 3)))
        lost = machine.machine_loss(models, self.journey(shown(x_machine)), x, originals, turn, self.generator)
        worth = self.MACHINE * (1 - MACHINE_FALLS * self.run.network.config.quality(level))
        return (worth * lost + pixels).mean()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Of every version at three levels, on pictures that training never sees: PSNR; cosine to the original, and
        share of pictures taken for the same class, as surrogates and as judges see it.
        """
        results: dict[str, float] = {}
        x, groups = self.held_out, {"": self.surrogates, "_judges": self.judges}
        none = torch.zeros(len(x), 1, device=x.device)
        originals = {suffix: [m.encode_image(x) for m in group.models] for suffix, group in groups.items()}
        for number in VALIDATION_LEVELS:
            level = torch.full((len(x),), number, device=x.device)
            latents = self.versions.latents(x, level)
            decodes = {
                "full": (latents.full, none, none),
                "protected": (latents.public, none + 1, none),
                "half": (latents.public, none + 0.5, none),
                "machine": (latents.full, none, none + 1),
                "forced": (latents.public, none, none),
                "forged": (latents.forged, none, none),
            }
            for name, (y_hat, strength, for_machines) in decodes.items():
                condition = self.versions.condition(x.shape[2:], level, strength, for_machines)
                x_hat = shown(self.run.network.picture(y_hat, condition, *x.shape[2:]))
                results[f"{name}{number}_psnr"] = -decibels((x_hat - x).square().mean((1, 2, 3))).mean().item()
                for suffix, group in groups.items():
                    if group.models:
                        cosine, agreement = _understood(group, x_hat, originals[suffix])
                        results[f"{name}{number}_cosine{suffix}"] = cosine
                        results[f"{name}{number}_agree{suffix}"] = agreement
        return {**results, **self._validate_large()}

    def _validate_large(self) -> dict[str, float]:
        """Share of large photos whose protected version is taken for the original's class, at two sizes."""
        shares: dict[str, list[float]] = {}
        for rgb in self.held_out_large:
            for side in LARGE_JUDGED:
                x = ScaleSource([rgb], [side], 0, self.run.device).next_batch(1).x
                level = torch.full((1,), VALIDATION_LEVELS[1], device=x.device)
                latents = self.versions.latents(x, level)
                x_hat = shown(self.versions.protected(latents.public, x.shape[2:], level)[0])
                for suffix, group in (("", self.surrogates), ("_judges", self.judges)):
                    if group.models:
                        originals = [model.encode_image(x) for model in group.models]
                        agreement = _understood(group, x_hat, originals)[1]
                        shares.setdefault(f"protected_at_{side}_agree{suffix}", []).append(agreement)
        return {key: sum(found) / len(found) for key, found in shares.items()}

    def finish(self) -> None:
        """Nothing depends on what this stage has learned."""

    def state(self) -> dict[str, Any]:
        return {
            "pictures": self.source.state(),
            "generator": self.generator.bit_generator.state,
            "budgets": [budget.weight for budget in self.budgets],
            "steps": self.steps,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.load_state(state["pictures"])
        self.generator.bit_generator.state = state["generator"]
        for budget, weight in zip(self.budgets, state["budgets"], strict=True):
            budget.weight = weight
        self.steps = state["steps"]


def _understood(group: Surrogates, x_hat: Tensor, originals: list[Tensor]) -> tuple[float, float]:
    """Mean cosine to the originals, and share of pictures taken for the same class, over a group's models."""
    seen = [model.encode_image(x_hat) for model in group.models]
    cosines = [(a.float() * b.float()).sum(1).mean().item() for a, b in zip(seen, originals, strict=True)]
    shares = [group.agreement(m, a, b) for m, a, b in zip(group.models, seen, originals, strict=True)]
    return sum(cosines) / len(cosines), sum(shares) / len(shares)
