"""Several objectives at once: how their weights are set during training instead of by hand.

    budget  a limit is kept by its own weight, the dual variable of an augmented Lagrangian
    mgda    the convex combination of the gradients that is shortest, which makes no objective worse
    fixed   weights from the configuration

MGDA: Desideri, "Multiple-gradient descent algorithm", 2012; Sener & Koltun, "Multi-Task Learning as Multi-Objective
Optimization", NeurIPS 2018, whose upper bound takes gradients of a shared output instead of all parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from psic_cli.training import distributed

MOST_OBJECTIVES = 8  # the solver tries all subsets
NEGLIGIBLE = 1e-12  # squared length of a gradient, relative to the longest, that counts as zero


class Budget:
    """Holds a quantity at a limit by raising or lowering its own weight (the dual variable of an augmented Lagrangian).

    Usage, once a step: `loss = objective + budget.weight * quantity`, then `budget.update(quantity.item() - limit)`.

    >>> budget = Budget(weight=1.0, pace=0.1)
    >>> budget.update(2.0)  # 2 above the limit: the weight grows by exp(0.2)
    >>> round(budget.weight, 4)
    1.2214
    """

    def __init__(self, weight: float, pace: float = 0.01, lowest: float = 1e-3, highest: float = 1e3) -> None:
        self.weight, self.pace, self.lowest, self.highest = weight, pace, lowest, highest

    def update(self, excess: float) -> None:
        """excess: the quantity minus its limit; one step changes the weight by a factor of e at most."""
        if not math.isfinite(excess):  # one broken batch must not end a long run
            return
        change = math.exp(max(-1.0, min(1.0, self.pace * excess)))
        self.weight = max(self.lowest, min(self.highest, self.weight * change))


class Budgets:
    """A budget for each of several groups of samples: what a limit costs differs between them, such as between
    qualities. In several processes they are the same.
    """

    def __init__(self, count: int, weight: float, pace: float) -> None:
        self.each = [Budget(weight, pace) for _ in range(count)]

    def weight(self, group: Tensor) -> Tensor:
        """Of samples in groups [B]: [B]."""
        return torch.tensor([budget.weight for budget in self.each], device=group.device)[group]

    def update(self, excess: Tensor, group: Tensor) -> None:
        """One step of each budget that has samples: by their mean. excess, group: [B]."""
        sums = torch.zeros(2, len(self.each), device=excess.device)
        sums[0].index_add_(0, group, excess.detach())
        sums[1].index_add_(0, group, torch.ones_like(excess))
        for budget, (summed, counted) in zip(self.each, distributed.total(sums).T.tolist(), strict=True):
            if counted:
                budget.update(summed / counted)

    def state(self) -> list[float]:
        return [budget.weight for budget in self.each]

    def load_state(self, weights: list[float]) -> None:
        for budget, weight in zip(self.each, weights, strict=True):
            budget.weight = weight


def min_norm_of_two(first: float, both: float, second: float) -> float:
    """The weight of the first of two gradients in their shortest convex combination; the other has the rest.

    first, second: squared lengths; both: their product. Closed form: (g2 - g1) g2 / |g1 - g2|^2, kept within 0..1.
    """
    distance = first - 2 * both + second
    return 0.5 if distance <= 0 else min(1.0, max(0.0, (second - both) / distance))


def min_norm_weights(products: np.ndarray) -> np.ndarray:
    """Weights >= 0 that add up to 1 and minimise |sum_i w_i g_i|^2, from the products g_i g_j: [n, n] -> [n].

    Exact: each set of gradients that may carry weight is tried, which is quick for the handful there is. Gradients that
    are zero have weight 0, for nothing can make them worse; so have those that are not finite. All of them: equal
    weights. ValueError for more than 8.
    """
    count = len(products)
    if count > MOST_OBJECTIVES:
        raise ValueError(f"{count} objectives are more than {MOST_OBJECTIVES}")
    products = np.asarray(products, dtype=np.float64)
    lengths = np.diag(products)
    finite = np.isfinite(lengths) & np.array([np.isfinite(row[np.isfinite(lengths)]).all() for row in products])
    used = np.flatnonzero(finite & (lengths > NEGLIGIBLE * max(lengths[finite], default=0.0)))
    weights = np.zeros(count)
    if len(used) == 0:
        return np.full(count, 1.0 / count)
    if len(used) == 2:
        a, b = used
        weights[a] = min_norm_of_two(products[a, a], products[a, b], products[b, b])
        weights[b] = 1 - weights[a]
        return weights
    best = math.inf
    for size in range(1, len(used) + 1):
        for chosen in combinations(used, size):
            inner = products[np.ix_(chosen, chosen)]
            share = _equal_products(inner)
            if share.min() < -1e-9:
                continue
            length = float(share @ inner @ share)
            if length < best * (1 - 1e-9):
                best = length
                weights = np.zeros(count)
                weights[list(chosen)] = share.clip(0)
    return weights / weights.sum()


def _equal_products(inner: np.ndarray) -> np.ndarray:
    """The shortest affine combination: all products with it are equal (Lagrange multipliers)."""
    count = len(inner)
    scale = np.trace(inner) / count
    system = np.block([[inner / scale, np.ones((count, 1))], [np.ones((1, count)), np.zeros((1, 1))]])
    solution: np.ndarray = np.linalg.lstsq(system, np.append(np.zeros(count), 1.0), rcond=None)[0][:count]
    return solution


def gradient_products(gradients: Sequence[Tensor]) -> np.ndarray:
    """Products g_i g_j of tensors of one shape: float64 [n, n]."""
    rows = torch.stack([gradient.detach().flatten().float() for gradient in gradients])
    found: np.ndarray = (rows @ rows.T).double().cpu().numpy()
    return found


def combine_at(output: Tensor, losses: Sequence[Tensor]) -> tuple[Tensor, np.ndarray]:
    """One loss whose gradient is the shortest combination of those of `losses`, and the weights (MGDA-UB).

    output: what all losses are made from, such as the decoded picture, with the network behind it. losses: scalars
    whose graphs begin at `output`. What lies between is run through once: the result goes back from `output` alone.
    """
    gradients = [torch.autograd.grad(loss, output, retain_graph=True)[0] for loss in losses]
    weights = min_norm_weights(gradient_products(gradients))
    total = sum(w * g for w, g in zip(weights.tolist(), gradients, strict=True) if w)
    value = sum(w * loss.detach() for w, loss in zip(weights.tolist(), losses, strict=True) if w)
    assert isinstance(total, Tensor)
    linear = (output * total.detach()).sum()
    return linear - linear.detach() + value, weights
