"""CompressAI's learned densities of single channels (Balle et al. 2018, appendix 6.1), as probabilities of symbols."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Density:
    """One density for each of C channels.

    matrices, biases: [C, o, i] and [C, o, 1] of each layer; factors: [C, o, 1] of all but the last. medians: [C].
    """

    matrices: list[Tensor]
    biases: list[Tensor]
    factors: list[Tensor]
    medians: Tensor

    def probabilities(self, values: Tensor, width: float = 1.0) -> npt.NDArray[np.float64]:
        """Of the bins of a width around values [C, n]: [C, n]."""
        lower, upper = (self._logits(values.double() + side * width / 2) for side in (-1, 1))
        sign = -torch.sign(lower + upper)  # differences of small numbers keep their digits
        return (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs().numpy()

    def _logits(self, values: Tensor) -> Tensor:
        """Of the cumulative distribution at values [C, n]."""
        h = values[:, None]
        for number, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            h = F.softplus(matrix.double()) @ h + bias.double()
            if number < len(self.factors):
                h = h + torch.tanh(self.factors[number].double()) * torch.tanh(h)
        return h[:, 0]


def density_of(state: dict[str, Tensor], prefix: str) -> Density:
    """The density of an EntropyBottleneck. KeyError for parts that are missing."""

    def parts(name: str) -> list[Tensor]:
        numbers = [n for n in range(16) if f"{prefix}.{name}.{n}" in state]
        if not numbers:
            raise KeyError(f"{prefix}.{name}.0")
        return [state[f"{prefix}.{name}.{n}"] for n in numbers]

    return Density(parts("matrices"), parts("biases"), parts("factors"), state[f"{prefix}.quantiles"][:, 0, 1].double())
