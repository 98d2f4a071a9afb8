"""Latents that know of others: groups of channels one behind the other, a chequerboard in each.

cheng2020-anchor-checkerboard (He et al., CVPR 2021) has one group, ELIC (He et al., CVPR 2022) has five.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from psic_cli.backbones.adapted import Hyperprior, Told, Where
from psic_cli.backbones.integers import IntegerChain, Reach
from psic_cli.networks.backbone import MEAN_BITS, SYMBOL_MAX

CONTEXT = Reach(-255, 255)  # of y_hat


class Group(nn.Module):
    """What predicts some channels of y.

    channels: which. seen: those that are known before and serve as context. before, near, joined: see `Grouped`; before
    is None where nothing is seen.
    """

    def __init__(
        self,
        channels: slice,
        seen: Sequence[slice],
        before: IntegerChain | None,
        near: IntegerChain,
        joined: IntegerChain,
    ) -> None:
        super().__init__()
        self.channels, self.seen = channels, seen
        self.before, self.near, self.joined = before, near, joined


class Grouped(Hyperprior):
    """Two steps for each group: where row + column is even a latent knows the groups before, elsewhere also those
    around it in its own group.

        y_hat of the group's first step -> near, 5x5 --+
        y_hat of groups before -> before, three 5x5 ---+
        z ----> h_s -----------------------------------+--> joined, three 1x1 -> scale, mean

    All of it is integers.

    Args:
        finest: [latents], by how many bits sixteenths of y_hat are rounded where they serve as context.
    """

    finest: Tensor

    def __init__(self, base: Hyperprior, groups: Sequence[Group], finest: Tensor) -> None:
        super().__init__(
            *(base.sizes, base.g_a, base.g_s, base.of_tables, base.h_a, base.h_s, base.thresholds), magnitudes=False
        )
        self.groups, self.steps = nn.ModuleList(groups), 2 * len(groups)
        self.register_buffer("finest", finest.float())

    def _integer_parts(self) -> Sequence[nn.Module]:
        return (self.h_s, self.groups)

    def _group(self, step: int) -> Group:
        group = self.groups[step // 2]
        assert isinstance(group, Group)
        return group

    def turns(self, step: int) -> list[Where]:
        """Even rows, then odd ones."""
        return [(..., self._group(step).channels, *where[1:]) for where in half(step % 2)]

    def predict(self, z: Tensor, level: Tensor) -> Told:
        side = self._from_z(z)
        nothing = side.new_zeros(len(side), self.sizes.latents, *side.shape[2:])
        return self._told(Told(nothing, nothing, side), None, step=0)

    def refine(self, prediction: Told, symbols: Tensor, step: int) -> Told:
        group = self._group(step)

        def known(channels: slice) -> Tensor:
            symbol = symbols[:, channels].clamp(-SYMBOL_MAX, SYMBOL_MAX).to(prediction.mean.dtype)
            return context_of(2**MEAN_BITS * symbol + prediction.mean[:, channels], self.finest[channels])

        if step % 2:
            context = known(group.channels)
            first = torch.zeros_like(context)
            for where in half(0):
                first[where] = context[where]
            return self._told(prediction, group.near(first), step)
        assert group.before is not None
        before = group.before(torch.cat([known(channels) for channels in group.seen], dim=1))
        of_z = prediction.side[:, -self.h_s.inputs_and_outputs[1] :]
        side = torch.cat([before, of_z], dim=1)
        return self._told(Told(prediction.mean, prediction.index, side), None, step)

    def _told(self, before: Told, near: Tensor | None, step: int) -> Told:
        """With the mean and index of a step's latents. near: [B, C, h, w], None if there is nothing around."""
        mean, index, group = before.mean.clone(), before.index.clone(), self._group(step)
        latents = group.channels.stop - group.channels.start
        with torch.autocast(mean.device.type, enabled=False):
            for where, target in zip(half(step % 2), self.turns(step), strict=True):
                side = before.side[where]
                around = side.new_zeros(len(side), 2 * latents, *side.shape[2:]) if near is None else near[where]
                joined = group.joined(torch.cat([around, side], dim=1))
                mean[target], index[target] = self._mean_and_index(joined, latents)
        return Told(mean, index, before.side)


def half(parity: int) -> list[Where]:
    """Where row + column is even (0) or odd (1): indexes of [..., h, w], the even rows first."""
    return [(..., slice(0, None, 2), slice(parity, None, 2)), (..., slice(1, None, 2), slice(1 - parity, None, 2))]


def context_of(known: Tensor, finest: Tensor) -> Tensor:
    """y_hat [B, latents, h, w] in sixteenths, rounded by so many bits [latents], as context."""
    shifted = torch.floor(known * 2.0 ** -finest.to(known.dtype)[:, None, None] + 0.5)
    return shifted.clamp(CONTEXT.low, CONTEXT.high)
