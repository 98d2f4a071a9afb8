"""The shortest combination of gradients, by hand, and the budget rule."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from psic_cli.training.multi_objective import Budget, Budgets, combine_at, gradient_products, min_norm_weights


def weights_of(*gradients: list[float]) -> list[float]:
    return min_norm_weights(gradient_products([torch.tensor(g) for g in gradients])).tolist()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5]),  # a right angle
        ([2.0, 0.0], [0.0, 1.0], [0.2, 0.8]),  # (g2 - g1) g2 / |g1 - g2|^2 = 1 / 5
        (
            [1.0, 0.0],
            [2.0, 1.0],
            [1.0, 0.0],
        ),  # acute, and the shorter one is the shortest point of the line: (5-2)/2 > 1
        ([2.0, 1.0], [2.0, -2.0], [2 / 3, 1 / 3]),  # acute: (8 - 2) / 9, the combination is (2, 0)
        ([1.0, 0.0], [-1.0, 1.0], [0.6, 0.4]),  # obtuse: (2 + 1) / 5, the combination is (0.2, 0.4)
        ([1.0, 0.0], [-3.0, 0.0], [0.75, 0.25]),  # opposite: they cancel
        ([1.0, 2.0], [1.0, 2.0], [0.5, 0.5]),  # equal
    ],
)
def test_two_gradients_by_hand(first, second, expected):
    assert weights_of(first, second) == pytest.approx(expected, abs=1e-6)
    assert weights_of(second, first) == pytest.approx(expected[::-1], abs=1e-6)


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [
        # Orthogonal: weights as 1 / length^2, here 1 : 1/4 : 1/9 = 36 : 9 : 4.
        ([[1, 0, 0], [0, 2, 0], [0, 0, 3]], [36 / 49, 9 / 49, 4 / 49]),
        # The third points as the sum of the others, further out: it carries nothing.
        ([[1, 0, 0], [0, 1, 0], [2, 2, 0]], [0.5, 0.5, 0.0]),
        # Around the origin: (0, 1) and the two that look down cancel: 2 y = a + b, a = b.
        ([[0, 1, 0], [1, -1, 0], [-1, -1, 0]], [0.5, 0.25, 0.25]),
        # One is shorter than all else and acute to it.
        ([[1, 0, 0], [2, 1, 0], [2, -1, 1]], [1.0, 0.0, 0.0]),
    ],
)
def test_three_gradients_by_hand(gradients, expected):
    found = weights_of(*[[float(x) for x in row] for row in gradients])
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_result_makes_no_objective_worse():
    """min_i g_i d >= |d|^2: Desideri's theorem; and no other combination is shorter."""
    generator = np.random.default_rng(0)
    for count in (2, 3, 4, 5):
        for _ in range(10):
            gradients = generator.normal(size=(count, 4)) + generator.normal(size=4)
            weights = min_norm_weights(gradients @ gradients.T)
            assert weights.min() >= 0
            assert weights.sum() == pytest.approx(1)
            direction = weights @ gradients
            assert (gradients @ direction).min() >= direction @ direction - 1e-9
            others = generator.dirichlet(np.ones(count), 50) @ gradients
            assert (others**2).sum(1).min() >= direction @ direction - 1e-9


def test_a_zero_gradient_does_not_stop_the_others():
    assert weights_of([0.0, 0.0], [1.0, 0.0]) == [0.0, 1.0]
    assert weights_of([0.0, 0.0], [1.0, 0.0], [0.0, 1.0]) == [0.0, 0.5, 0.5]
    assert weights_of([0.0, 0.0], [0.0, 0.0]) == [0.5, 0.5]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_weight(bad):
    assert weights_of([1.0, bad], [2.0, 0.0]) == [0.0, 1.0]
    assert weights_of([1.0, 0.0], [bad, 0.0], [0.0, 1.0]) == [0.5, 0.0, 0.5]
    assert weights_of([bad], [bad]) == [0.5, 0.5]


def test_small_gradients_count_too():
    assert weights_of([1e-6, 0.0], [0.0, 2e-6]) == pytest.approx([0.8, 0.2])
    assert weights_of([1e-6, 0.0, 0.0], [0.0, 2e-6, 0.0], [0.0, 0.0, 2e-6]) == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_too_many_objectives_are_refused():
    with pytest.raises(ValueError, match="9 objectives"):
        min_norm_weights(np.eye(9))


def test_the_combination_at_an_output_goes_back_through_the_network_once():
    """output = 2 p; losses output_0 and -3 output_0 + 4 output_1 have gradients (1, 0) and (-3, 4): weights
    (25 + 3) / 32 = 7/8 and 1/8, combination (1/2, 1/2), for p twice as much; value 7/8 * 2 + 1/8 * (-6 + 8) = 2.
    """
    parameter = nn.Parameter(torch.tensor([1.0, 1.0]))
    output = 2 * parameter
    loss, weights = combine_at(output, [output[0] * 1.0, -3 * output[0] + 4 * output[1]])
    loss.backward()
    assert weights.tolist() == pytest.approx([7 / 8, 1 / 8])
    assert parameter.grad is not None
    assert parameter.grad.tolist() == pytest.approx([1.0, 1.0])
    assert loss.item() == pytest.approx(2.0)


# The budget rule


def test_the_weight_grows_while_the_limit_is_exceeded_and_falls_while_it_is_not():
    budget = Budget(weight=1.0, pace=0.1)
    budget.update(2.0)
    assert budget.weight == pytest.approx(math.exp(0.2))
    budget.update(-5.0)
    assert budget.weight == pytest.approx(math.exp(-0.3))
    budget.update(0.0)
    assert budget.weight == pytest.approx(math.exp(-0.3))


def test_one_step_changes_the_weight_by_a_factor_of_e_at_most():
    budget = Budget(weight=1.0, pace=0.1)
    budget.update(1e9)
    assert budget.weight == pytest.approx(math.e)
    budget.update(-1e9)
    assert budget.weight == pytest.approx(1.0)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_batch_leaves_the_weight_alone(broken):
    budget = Budget(weight=1.5)
    budget.update(broken)
    assert budget.weight == 1.5


def test_the_weight_stays_between_its_limits():
    budget = Budget(weight=1.0, pace=1.0, lowest=0.5, highest=4.0)
    for _ in range(5):
        budget.update(10.0)
    assert budget.weight == 4.0
    for _ in range(9):
        budget.update(-10.0)
    assert budget.weight == 0.5


def test_the_weight_settles_where_the_limit_is_just_kept():
    """min x^2 + weight * (1 - x) has its minimum at x = weight / 2; the limit 1 - x <= 0.4 asks for weight 1.2."""
    budget = Budget(weight=0.1, pace=0.2)
    for _ in range(300):
        budget.update((1 - budget.weight / 2) - 0.4)
    assert budget.weight == pytest.approx(1.2, rel=1e-3)


def test_each_group_has_a_budget_of_its_own():
    budgets = Budgets(3, weight=2.0, pace=0.1)
    group = torch.tensor([2, 0, 2])
    assert budgets.weight(group).tolist() == [2.0, 2.0, 2.0]
    budgets.update(torch.tensor([1.0, -1.0, 3.0]), group)
    expected = [2 * math.exp(-0.1), 2.0, 2 * math.exp(0.2)]  # by the mean of a group; one without samples stays
    assert budgets.state() == pytest.approx(expected)
    again = Budgets(3, weight=1.0, pace=0.1)
    again.load_state(budgets.state())
    assert again.state() == budgets.state()
