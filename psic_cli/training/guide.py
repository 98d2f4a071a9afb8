"""Where a guide begins: the trunk of a witness whose tower is an EfficientNet-Lite0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from psic_cli.errors import InputError
from psic_cli.networks.guide import STAGES, Guide
from psic_cli.vlp.interface import load_vlp


@torch.no_grad()
def guide_from(spec: str, steps: int) -> Guide:
    """A guide of so many steps that sees what the model sees before its last stage. InputError if the model has no such
    tower.
    """
    guide = Guide(steps)
    tower: Any = getattr(load_vlp(spec, "cpu"), "tower", None)
    try:
        blocks = [block for stage in list(tower.blocks)[: len(STAGES)] for block in stage]
        layers = [(guide.stem, tower.conv_stem)]
        for ours, theirs in zip(guide.inner_blocks(), blocks, strict=True):
            if ours.widen is not None:
                layers.append((ours.widen, theirs.conv_pw))
            project = theirs.conv_pw if ours.widen is None else theirs.conv_pwl
            layers += [(ours.look, theirs.conv_dw), (ours.project, project)]
        for layer, trained in layers:
            for name, value in _convolution(trained).items():
                layer.get_parameter(name).copy_(value)
    except (AttributeError, ValueError, RuntimeError) as error:
        raise InputError(f"{spec}: a guide begins with an EfficientNet-Lite0, which this model has not") from error
    return guide


def _convolution(layer: nn.Module) -> dict[str, Tensor]:
    """Weight and bias, also of a convolution that something is wrapped around."""
    return {name.split(".")[-1]: value for name, value in layer.state_dict().items()}
