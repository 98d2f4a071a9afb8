"""Muon and AdamW as one optimiser, and the average of the weights."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from psic_cli.networks.integer_layers import IntegerConv2d
from psic_cli.training.optimiser import Average, Optimiser, as_matrix, matrix_weights


class Mixed(nn.Module):
    """One of each kind: two matrices, a depthwise, a narrow and an integer convolution, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 32, 3, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 7, padding=3, groups=32)
        self.second = nn.Conv2d(32, 40, 1)
        self.narrow = nn.Conv2d(40, 16, 1)
        self.integer = IntegerConv2d(32, 32, 3, input_bits=0)
        self.linear = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(self.second(self.depthwise(self.first(x)).relu()))


def made(seed: int = 0) -> tuple[Mixed, Optimiser]:
    torch.manual_seed(seed)
    network = Mixed().to(memory_format=torch.channels_last)
    first, rest = [*network.parameters()][:4], [*network.parameters()][4:]
    groups: list[dict[str, Any]] = [{"params": first}, {"params": rest, "factor": 5.0}]
    return network, Optimiser(groups, matrix_weights(network))


def train(network: nn.Module, optimiser: Optimiser, first: int, last: int) -> None:
    for step in range(first, last):
        torch.manual_seed(step)
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * group.get("factor", 1.0)
        optimiser.zero_grad()
        network(torch.randn(2, 4, 8, 8)).square().mean().backward()
        optimiser.step()


def test_muon_moves_dense_convolutions_that_are_large_enough():
    network = Mixed()
    expected = [network.first.weight, network.second.weight, network.integer.weight]
    assert [id(weight) for weight in matrix_weights(network)] == [id(weight) for weight in expected]


def test_each_parameter_is_moved_once():
    network, optimiser = made()
    assert sorted(map(id, optimiser.parameters)) == sorted(map(id, network.parameters()))
    leaves = [p for group in optimiser.param_groups for p in group["params"]]
    assert len(leaves) == len(list(network.parameters()))
    assert sum(group.get("factor", 1.0) == 5.0 for group in optimiser.param_groups) == 2  # Muon's and AdamW's


def test_a_step_of_muon_is_orthogonal_and_as_long_as_one_of_adamw():
    """match_rms_adamw: a step is learning rate * 0.2 * sqrt(max(rows, columns)) * an orthogonal matrix; Newton-Schulz
    brings singular values to between 0.7 and 1.2 of it.
    """
    network, optimiser = made()
    before = as_matrix(network.first.weight.detach()).clone()
    train(network, optimiser, 0, 1)
    step = as_matrix(network.first.weight.detach()) - before
    assert step.shape == (32, 36)
    values = torch.linalg.svdvals(step) / (0.01 * 0.2 * 36**0.5)
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_small_step_goes_downhill():
    network, optimiser = made()
    x = torch.randn(2, 4, 8, 8)
    before = network(x).square().mean().item()
    train(network, optimiser, 0, 30)
    assert network(x).square().mean().item() < 0.5 * before


def test_a_resumed_run_ends_where_an_uninterrupted_one_does():
    whole, optimiser = made()
    train(whole, optimiser, 0, 6)

    first, optimiser = made()
    train(first, optimiser, 0, 3)
    network_state, state = copy.deepcopy(first.state_dict()), copy.deepcopy(optimiser.state_dict())
    second, optimiser = made(seed=1)
    second.load_state_dict(network_state)
    optimiser.load_state_dict(state)
    train(second, optimiser, 3, 6)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_storage_stays_shared_when_the_network_moves():
    network, optimiser = made()
    reference, other = made()
    network.double().float()  # new storage each time
    network.to(memory_format=torch.contiguous_format)
    network.load_state_dict(copy.deepcopy(network.state_dict()))
    train(network, optimiser, 0, 1)
    train(reference, other, 0, 1)
    for weight, leaf in zip(optimiser.weights, optimiser.leaves, strict=True):
        assert weight.data_ptr() == leaf.data_ptr()
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(network.state_dict()[key], value, rtol=0, atol=5e-4)


def test_frozen_parameters_stay_where_they_are():
    network, optimiser = made()
    network.first.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    train(network, optimiser, 0, 2)
    for key, value in network.state_dict().items():
        moved = key.startswith(("depthwise", "second", "narrow"))  # the others have no part in the loss
        assert torch.equal(value, before[key]) != moved, key


def test_without_matrices_it_is_adamw():
    network, _ = made()
    same = copy.deepcopy(network)
    plain = torch.optim.AdamW(same.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    train(network, Optimiser([{"params": network.parameters()}]), 0, 1)
    torch.manual_seed(0)
    same(torch.randn(2, 4, 8, 8)).square().mean().backward()
    plain.step()
    for key, value in same.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key


# The average


def test_the_average_by_hand():
    """Decays 1/10, then 2/11: 0 -> 0.9 * 1 = 0.9 -> 2/11 * 0.9 + 9/11 * 2 = 1.8."""
    parameter = nn.Parameter(torch.zeros(1))
    average = Average([parameter], 0.999)
    for value, expected in ((1.0, 0.9), (2.0, 1.8)):
        parameter.data.fill_(value)
        average.update()
        assert float(average.values[0]) == pytest.approx(expected)
    late = Average([parameter], 0.9)
    late.updates = 1000
    parameter.data.fill_(3.0)
    late.update()  # 0.9 * 2 + 0.1 * 3
    assert float(late.values[0]) == pytest.approx(2.1)


def test_the_average_takes_the_place_of_the_weights_for_a_while():
    parameter = nn.Parameter(torch.tensor([1.0]))
    average = Average([parameter], 0.5)
    parameter.data.fill_(5.0)
    with average.in_place():
        assert parameter.item() == 1.0
    assert parameter.item() == 5.0
    with pytest.raises(KeyError), average.in_place():
        raise KeyError
    assert parameter.item() == 5.0


def test_the_average_survives_a_restart():
    parameter = nn.Parameter(torch.tensor([1.0]))
    average = Average([parameter], 0.99)
    parameter.data.fill_(2.0)
    average.update()
    again = Average([parameter], 0.99)
    again.load_state_dict(copy.deepcopy(average.state_dict()))
    for one in (average, again):
        parameter.data.fill_(4.0)
        one.update()
    assert torch.equal(average.values[0], again.values[0])
