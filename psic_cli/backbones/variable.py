"""One network for all qualities: what is rounded of y is multiplied by a gain first (Kamisli et al., DCC 2024,
"Variable-Rate Learned Image Compression with Multi-Objective Optimization and Quantization-Reconstruction Offsets").
"""

from __future__ import annotations

import torch
from torch import Tensor

from psic_cli.backbones.adapted import MEAN_MAX, Hyperprior, Told
from psic_cli.backbones.integers import SYMBOLS, Reach
from psic_cli.bitstream.header import quality_level
from psic_cli.bitstream.tables import N_SCALES
from psic_cli.networks.backbone import MEAN_BITS, Prediction
from psic_cli.networks.integer_layers import rounding_shift
from psic_cli.networks.strips import Made

GAIN_BITS = 9  # gains are stored as round(gain * 2^9): times a scale or a mean, float32 holds them
GAIN_MAX = 2**GAIN_BITS
Z_STEP_MAX = 255
Z_MOST = 511  # of z in the units of its steps: more would leave the weights of h_s too few bits


def reach_of(z_steps: Tensor) -> Reach:
    """Of what h_s is given, for its steps of z."""
    most = min(Z_MOST, SYMBOLS.high * int(z_steps.max()))
    return Reach(-most, most)


class Variable(Hyperprior):
    """bmshj2018-hyperprior-vbr and mbt2018-mean-vbr: `Hyperprior`, with 64 levels of quality, say.

        z * its step ==h_s, integers==> scale, mean ==* gain==> table index, mean of the scaled latent
        (symbol, further from or nearer to 0 by its offset, + mean) / gain = y_hat

    Args:
        gain: [levels], whole numbers 1..512, rising.
        z_steps: [bands], whole numbers, of ranges of levels: what an integer of z stands for, in the units of h_s.
        offsets: [levels, N_SCALES], in steps: what is added to the magnitude of a symbol that is not 0, once it is
            known. It changes pixels alone, so it is a float.
    """

    gain: Tensor
    z_steps: Tensor
    offsets: Tensor

    def __init__(self, base: Hyperprior, gain: Tensor, z_steps: Tensor, offsets: Tensor) -> None:
        super().__init__(
            *(base.sizes, base.g_a, base.g_s, base.of_tables, base.h_a, base.h_s, base.thresholds), base.magnitudes
        )
        if gain.ndim != 1 or not 1 <= gain.min() <= gain.max() <= GAIN_MAX or not (gain.diff() >= 0).all():
            raise ValueError("the gains do not rise within their range")
        if z_steps.ndim != 1 or not 1 <= z_steps.min() <= z_steps.max() <= Z_STEP_MAX or len(z_steps) > len(gain):
            raise ValueError("a step of z is out of range")
        if offsets.shape != (len(gain), N_SCALES) or not torch.isfinite(offsets).all():
            raise ValueError("the offsets of symbols do not fit the levels")
        if not self.sizes.span > 0:
            raise ValueError("all levels have one quality")
        self.levels = len(gain)
        self.reach = reach_of(z_steps)
        for name, values in (("gain", gain), ("z_steps", z_steps), ("offsets", offsets)):
            self.register_buffer(name, values.float())

    def level(self, quality: int, short_side: int) -> int:
        return quality_level(quality, self.levels, short_side, even_from=0)

    def quality(self, level: Tensor) -> Tensor:
        """May be somewhat beyond 0..1: levels are where the network was trained, not where psic-base was."""
        return self.sizes.quality + self.sizes.span * (level - self.levels // 2) / (self.levels - 1)

    def _level_of(self, quality: Tensor) -> Tensor:
        """The way back."""
        position = (quality - self.sizes.quality) / self.sizes.span * (self.levels - 1) + self.levels // 2
        return position.round().clamp(0, self.levels - 1).long()

    def _band(self, level: Tensor) -> Tensor:
        return level * len(self.z_steps) // self.levels

    def _z_step(self, level: Tensor) -> Tensor:
        return _of_pictures(self.z_steps[self._band(level)])

    def _real_gain(self, level: Tensor) -> Tensor:
        return _of_pictures(self.gain[level]) / 2**GAIN_BITS

    def z_tables(self, level: Tensor) -> Tensor:
        channels = torch.arange(self.hyper_latents, device=level.device)
        return self._band(level)[:, None] * self.hyper_latents + channels

    def side_information(self, y: Tensor, quality: Tensor) -> Tensor:
        return super().side_information(y, quality) / self._z_step(self._level_of(quality))

    def scale(self, y: Tensor, level: Tensor) -> Tensor:
        return y * self._real_gain(level)

    def unscale(self, scaled: Tensor, level: Tensor) -> Tensor:
        return scaled / self._real_gain(level)

    def predict(self, z: Tensor, level: Tensor) -> Told:
        z = z.to(self.integer_type) * self._z_step(level).to(self.integer_type)
        outputs = self._from_z(z.clamp(self.reach.low, self.reach.high))
        gain, latents = _of_pictures(self.gain[level]).to(outputs.dtype), self.sizes.latents
        scale = outputs[:, :latents] * gain
        index = torch.bucketize(scale.float(), self.thresholds * 2**GAIN_BITS, right=True).to(outputs.dtype)
        mean = rounding_shift(outputs[:, latents:].clamp(-MEAN_MAX, MEAN_MAX) * gain, GAIN_BITS)
        return Told(mean if mean.shape[1] else torch.zeros_like(scale), index, outputs)

    def restore(self, symbols: Tensor, prediction: Prediction, level: Tensor) -> Tensor:
        offsets = self.offsets[level]

        def restored(symbols: Tensor, mean: Tensor, index: Tensor) -> Tensor:
            of_each = offsets.gather(1, index.long().flatten(1)).view_as(symbols)
            return self.unscale(symbols + symbols.sign() * of_each + mean.float() / 2**MEAN_BITS, level)

        return Made(restored, (symbols, prediction.mean, prediction.index)).joined()


def _of_pictures(values: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1]."""
    return values[:, None, None, None]
