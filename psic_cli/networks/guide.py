"""The guide: a small picture classifier's features, and how to change a picture so that they turn away from the
original's.

What a synthesis learns misleads models well for what it costs to compute, but a few steps along the gradient of a
model's features do so at a fraction of the visible cost, and mislead models that took no part as well. The guide takes
such steps in the decoder. It is the trunk of an EfficientNet-Lite0 and begins with the weights of one; training then
makes its steps mislead all surrogates, after all that may happen to a picture.

After the feature attacks of FIA (Wang et al., ICCV 2021) and BIA (Zhang et al., ICLR 2022); smoothing the gradient is
Dong et al., CVPR 2019. Both ways through the network are written out, so that its steps can be trained like any layer.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psic_cli.networks.cltg import ConditionalLatentTriggerGenerator, at_full_strength, share_drawn
from psic_cli.networks.layers import filtered
from psic_cli.networks.visibility import price, visible

SIDE, LONGEST = 224, 1792  # pixels: the guide sees pictures with a shorter side of the first, if the longer one fits
STRIDE = 32  # pixels per place of the last features
STEM = 32  # channels
# EfficientNet-Lite0 (Tan, 2020) as far as the last features used: kernel, stride, expansion, channels, blocks
STAGES = [(3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4)]
TEXTURE = 2  # the stage that tells how far to step at each place,
TEXTURE_CHANNELS, TEXTURE_STRIDE = STAGES[TEXTURE][3], 8  # what it gives,
TEXTURE_BLOCK = sum(blocks for *_, blocks in STAGES[: TEXTURE + 1])  # and after how many blocks
OUTSIDE = 0.25  # how much features beside the middle square count, where that weighs 1
PACE = 0.5 / 255  # of an untrained guide: root mean square of a step, as far as people see it
TINY = 1e-30  # what is smaller counts as zero
HIDDEN = 32  # width of the MLP that turns a condition into paces


class Block(nn.Module):
    """An inverted residual, its batch norms folded in: [B, inputs, H, W] -> [B, outputs, H / stride, W / stride].

    x -> 1x1, ReLU6 (if it widens) -> depthwise, ReLU6 -> 1x1 -> + x where the sizes are the same
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.stride, self.is_residual = stride, stride == 1 and inputs == outputs
        self.widen = nn.Conv2d(inputs, hidden, 1) if expansion > 1 else None
        self.look = nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The result, and what its ReLU6 gave."""
        h, active = x, []
        if self.widen is not None:
            h = F.relu6(self.widen(h), inplace=True)
            active.append(h)
        h = self.look(h)
        if self.stride == 2:  # odd places: those where TensorFlow's padding puts a kernel
            h = h[..., 1::2, 1::2]
        h = F.relu6(h, inplace=self.stride == 1)  # where places were left out, a compact copy is kept instead
        active.append(h)
        h = self.project(h)
        return (x + h if self.is_residual else h), active

    def adjoint(self, gradient: Tensor, active: list[Tensor]) -> Tensor:
        """Gradient with respect to the result -> gradient with respect to x."""
        h = _through_relu6(_transposed(self.project, gradient), active[-1])
        if self.stride == 2:
            h = _spread(h)
        h = F.conv2d(h, self.look.weight.flip(2, 3), padding=self.look.padding, groups=self.look.groups)  # type: ignore[arg-type]
        if self.widen is not None:
            h = _transposed(self.widen, _through_relu6(h, active[0]))
        return gradient + h if self.is_residual else h


def _through_relu6(gradient: Tensor, active: Tensor) -> Tensor:
    """Zero where a ReLU6 gave 0 or 6. active: what it gave."""
    return torch.ops.aten.hardtanh_backward(gradient, active.to(gradient.dtype), 0.0, 6.0)  # type: ignore[no-any-return]


def _spread(h: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 2 H, 2 W] with zeros between: the adjoint of taking the odd places."""
    size = (*h.shape[:2], 2 * h.shape[2], 2 * h.shape[3])
    spread = torch.empty(size, dtype=h.dtype, device=h.device, memory_format=torch.channels_last).zero_()
    spread[..., 1::2, 1::2] = h
    return spread


def _transposed(convolution: nn.Conv2d, gradient: Tensor) -> Tensor:
    """The adjoint of a 1x1 convolution."""
    return F.conv2d(gradient, convolution.weight.transpose(0, 1))


class Features(NamedTuple):
    """What the guide sees in pictures [B, 3, H, W]."""

    last: Tensor  # [B, 192, H / 32, W / 32]
    texture: Tensor  # [B, 40, H / 8, W / 8]
    active: list[list[Tensor]]  # what the ReLU6 of the stem gave, then of each block

    def parted(self, count: int) -> tuple[Features, Features]:
        """Of the first `count` pictures, and of the others."""
        first, others = (
            Features(self.last[part], self.texture[part], [[one[part] for one in inner] for inner in self.active])
            for part in (slice(count), slice(count, None))
        )
        return first, others


class Guide(nn.Module):
    """Steps that turn a picture's features away from a reference's. See the module docstring.

    Args:
        steps: how many. Each costs the time of two passes through the trunk; many short ones change a picture less than
            a few long ones that mislead as well.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.stem = nn.Conv2d(3, STEM, 3, stride=2)
        blocks, inputs = [], STEM
        for kernel, stride, expansion, channels, count in STAGES:
            for i in range(count):
                blocks.append(Block(inputs, channels, kernel, stride if i == 0 else 1, expansion))
                inputs = channels
        self.blocks = nn.ModuleList(blocks)
        self.pace = nn.Conv2d(TEXTURE_CHANNELS, steps, 1)
        nn.init.zeros_(self.pace.weight)
        nn.init.zeros_(self.pace.bias)  # type: ignore[arg-type]
        self.cltg = ConditionalLatentTriggerGenerator([steps], HIDDEN)
        self._copies: list[Guide] = []  # at most one, see `_lean`; a list hides it from torch

    def inner_blocks(self) -> list[Block]:
        """All blocks behind the stem."""
        return list(self.blocks)  # type: ignore[arg-type]

    def parts(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the trunk, and of what decides how far its steps go."""
        trunk, paces = (self.stem, self.blocks), (self.pace, self.cltg)
        return [p for part in trunk for p in part.parameters()], [p for part in paces for p in part.parameters()]

    def keep_kernels(self) -> None:
        """Train all but the depthwise convolutions, whose gradient takes CPUs longer than all the rest together."""
        for block in self.inner_blocks():
            block.look.requires_grad_(False)

    def forward(self, x: Tensor, reference: Tensor, condition: Tensor) -> Tensor:
        """What to add to pictures x so that they are not taken for the reference: [B, 3, H, W], as both are.

        condition: [B, 4], see cltg.Condition; its strength says how much of the steps is taken.
        """
        height, width = x.shape[-2:]
        scale = min(SIDE / min(height, width), LONGEST / max(height, width))
        rows, columns = (max(1, round(scale * side)) for side in (height, width))
        (top, bottom), (left, right) = _margins(rows), _margins(columns)
        margins = (left, right, top, bottom)
        x, reference = (F.pad(_resized(one.float(), rows, columns), margins, "replicate") for one in (x, reference))
        drawn = self._steps(x, reference, condition)[..., top : top + rows, left : left + columns]
        return _resized(drawn, height, width)

    def _steps(self, x: Tensor, reference: Tensor, condition: Tensor) -> Tensor:
        """The same for pictures of the size that the guide sees, sides multiples of 32."""
        trunk, cost = self._lean(), price(visible(reference.clamp(0, 1)))
        # What a step sees is not trained through. The first one's pictures share a pass with the reference.
        found, known = trunk.features(torch.cat([x.detach(), reference])).parted(len(x))
        paces = self._paces(known.texture, condition)
        drawn = torch.zeros_like(x)
        for step in range(self.steps):
            if step:
                found = trunk.features((x + drawn).detach())
            gradient = smooth(trunk.adjoint(_turning(found.last.float(), known.last.float()), found.active).float())
            direction = _normalised(gradient) / cost  # the steepest for what people see of it
            energy = (cost * direction.square()).mean((1, 2, 3), keepdim=True).clamp_min(TINY)
            drawn = drawn - paces[:, step : step + 1] * direction * energy.rsqrt()
        return drawn

    def _lean(self) -> Guide:
        """Itself; in inference mode a copy with the weights that autocast would make of these in every pass.

        It is kept: a decoder's weights do not change.
        """
        device = self.stem.weight.device.type
        if not (torch.is_inference_mode_enabled() and torch.is_autocast_enabled(device)):
            return self
        if not self._copies:
            self._copies.append(copy.deepcopy(self).to(torch.get_autocast_dtype(device)))
        return self._copies[0]

    def _paces(self, texture: Tensor, condition: Tensor) -> Tensor:
        """How far each step goes at each place: [B, steps, H, W]."""
        (trigger,) = self.cltg(at_full_strength(condition))
        paces = PACE * torch.exp((self.pace(texture).float() + trigger).clamp(-6, 3))
        paces = F.interpolate(paces, scale_factor=TEXTURE_STRIDE, mode="bilinear", align_corners=False)
        return share_drawn(condition) * paces

    def features(self, x: Tensor) -> Features:
        """Pictures [B, 3, H, W] in 0..1, sides multiples of 32."""
        h = F.relu6(self.stem(F.pad(2 * x - 1, (0, 1, 0, 1))), inplace=True)  # padded as TensorFlow does
        active, texture = [[h]], h
        for number, block in enumerate(self.inner_blocks(), start=1):
            h, inner = block(h)
            active.append(inner)
            if number == TEXTURE_BLOCK:
                texture = h
        return Features(h, texture, active)

    def adjoint(self, gradient: Tensor, active: list[list[Tensor]]) -> Tensor:
        """Gradient with respect to the last features -> gradient with respect to the pictures, but for a factor."""
        for block, inner in zip(reversed(self.inner_blocks()), reversed(active[1:]), strict=True):
            gradient = block.adjoint(gradient, inner)
        height, width = (2 * side for side in gradient.shape[-2:])
        gradient = _through_relu6(gradient, active[0][0])
        return F.conv_transpose2d(gradient, self.stem.weight, stride=2)[..., :height, :width]


def _margins(length: int) -> tuple[int, int]:
    """Pixels to add before and behind so many, until all are a multiple of the stride and the middle SIDE begin at one.

    Most vision-language models look at the middle square alone, and their features, too, are those of a grid: what is
    drawn for a grid that lies elsewhere misleads them less.
    """
    before = -((length - SIDE) // 2) % STRIDE if length > SIDE else 0
    return before, -(before + length) % STRIDE


def _middle(features: Tensor) -> Tensor:
    """How much each place of features [B, C, h, w] counts: [1, 1, h, w], 1 in the middle square, OUTSIDE beside it."""
    counts, side = features.new_full((1, 1, *features.shape[-2:]), OUTSIDE), SIDE // STRIDE
    top, left = (max(0, length - side) // 2 for length in features.shape[-2:])
    counts[..., top : top + side, left : left + side] = 1.0
    return counts


def _turning(features: Tensor, reference: Tensor) -> Tensor:
    """Gradient of the cosine of two sets of features [B, C, h, w] with respect to the first, but for a factor."""
    counts = _middle(features)
    inner = (counts * features * reference).sum((1, 2, 3), keepdim=True)
    size = (counts * features.square()).sum((1, 2, 3), keepdim=True)
    return _normalised(counts * (reference - features * (inner / size.clamp_min(TINY))))


def _normalised(x: Tensor) -> Tensor:
    """Each of [B, C, H, W] with a largest value of 1, or 0 if it is: squares of a gradient would leave the range of
    float32.
    """
    largest = x.abs().amax((1, 2, 3), keepdim=True)
    return torch.where(largest > TINY, x / largest.clamp_min(TINY), 0.0)


def smooth(x: Tensor) -> Tensor:
    """[B, C, H, W] after a binomial filter of 3x3: what is left misleads other models too, and survives a blur."""
    return filtered(x, x.new_tensor([0.25, 0.5, 0.25]))


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    """[B, C, H, W] at another size; as it is where the size is the same."""
    if x.shape[-2:] == (height, width):
        return x
    shrinks = height < x.shape[2] or width < x.shape[3]
    return F.interpolate(x.contiguous(), (height, width), mode="bicubic", antialias=shrinks, align_corners=False)
