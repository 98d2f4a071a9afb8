"""Convolutions of integers: plain integer arithmetic in every type that carries it."""

from typing import TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from psic_cli.networks import integer_layers
from psic_cli.networks.integer_layers import (
    EXACT_LIMIT,
    WEIGHT_MAX,
    ByteProducts,
    IntegerConv2d,
    activate,
    as_bytes,
    clamp_back,
    exact_type,
    require_exact,
    round_through,
)

CARRIERS = [torch.float32, torch.float64, torch.int32]
Part = TypeVar("Part", bound=nn.Module)


def carried(module: Part, dtype: torch.dtype) -> Part:
    """Its parameters as a loaded network has them for integers of that type."""
    return module.to(torch.float32 if dtype == torch.int32 else dtype).requires_grad_(False)


def integers(x: Tensor) -> np.ndarray:
    """int64, after checking that these are whole numbers."""
    array = x.detach().double().numpy()
    assert (array == np.round(array)).all()
    return array.astype(np.int64)


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Plain int64: x [C, h, w], weight [O, C, k, k] -> [O, h, w] with zeros around x."""
    margin = weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
    result = np.zeros((len(weight), *x.shape[1:]), dtype=np.int64) + bias[:, None, None]
    for a in range(weight.shape[2]):
        for b in range(weight.shape[3]):
            window = padded[:, a : a + x.shape[1], b : b + x.shape[2]]
            result += np.einsum("oc,chw->ohw", weight[:, :, a, b], window)
    return result


@pytest.mark.parametrize("dtype", CARRIERS)
@pytest.mark.parametrize("kernel", [1, 3])
@settings(max_examples=15)
@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**31),
)
def test_an_integer_layer_is_an_integer_convolution(kernel, dtype, sizes, seed):
    inputs, outputs, height, width = sizes
    torch.manual_seed(seed)
    layer = IntegerConv2d(inputs, outputs, kernel, input_bits=4).eval()
    torch.nn.init.normal_(layer.weight, std=2.0)
    torch.nn.init.normal_(layer.bias, std=20.0)
    carried(layer, dtype)
    assert layer.accumulator_bound(255) < EXACT_LIMIT
    x = torch.randint(0, 256, (2, inputs, height, width))
    expected = [
        convolved(picture.numpy(), integers(layer.integer_weight()), integers(layer.integer_bias())) for picture in x
    ]
    assert (integers(layer(x.to(dtype))) == np.stack(expected)).all()


def test_training_computes_what_evaluation_computes():
    torch.manual_seed(0)
    layer = IntegerConv2d(5, 7, 3, input_bits=4)
    x = torch.randint(0, 256, (2, 5, 6, 4)).float()
    assert torch.equal(layer.train()(x).round(), layer.eval()(x))


@given(st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=30), st.sampled_from([5, 9]))
def test_activation_is_a_rounding_shift_and_a_clamp(accumulators, shift):
    found = integers(activate(torch.tensor(accumulators, dtype=torch.float64), shift))
    assert found.tolist() == [min(255, max(0, (acc + 2 ** (shift - 1)) // 2**shift)) for acc in accumulators]


def test_rounding_is_half_up_and_lets_gradients_through():
    x = torch.tensor([-1.5, -0.5, 0.49, 0.5, 1.5], requires_grad=True)
    rounded = round_through(x)
    rounded.sum().backward()
    assert rounded.tolist() == [-1, 0, 0, 1, 2]
    assert x.grad is not None
    assert x.grad.tolist() == [1] * 5


def test_clamped_activations_pass_some_of_the_gradient_in_training_alone():
    accumulators = torch.tensor([-4000.0, 16.0, 100000.0], requires_grad=True)
    for leak, expected in ((0.0, [0, 1, 0]), (0.05, [0.05, 1, 0.05])):
        found = activate(accumulators, 4, leak)
        assert found.tolist() == [0, 1, 255]
        (gradient,) = torch.autograd.grad(found.sum(), accumulators)
        torch.testing.assert_close(16 * gradient, torch.tensor(expected, dtype=torch.float32))


def test_a_clamp_passes_gradients_that_lead_back():
    x = torch.tensor([-5.0, -5.0, 3.0, 70.0, 70.0], requires_grad=True)
    found = clamp_back(x, 0, 63)
    assert found.tolist() == [0, 0, 3, 63, 63]
    found.backward(torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0]))  # a step goes against the gradient
    assert x.grad is not None
    assert x.grad.tolist() == [-1, 0, 1, 1, 0]


def test_under_autocast_training_multiplies_in_bfloat16_and_stays_near():
    torch.manual_seed(2)
    layer, x = IntegerConv2d(16, 8, 3, input_bits=4), torch.randint(0, 256, (2, 16, 6, 6)).float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = layer(x)
    exact = layer(x)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().max() < 0.01 * exact.abs().max()


def test_the_bound_is_reached_by_the_worst_input():
    layer = carried(IntegerConv2d(8, 8, 3, input_bits=4).eval(), torch.float32)
    weight = layer.integer_weight().detach()
    inputs = [255.0 * (sign * row > 0) for row in weight for sign in (1, -1)]
    reached = float(layer(torch.stack(inputs))[..., 1, 1].abs().max())
    assert 0.99 * layer.accumulator_bound(255) < reached <= layer.accumulator_bound(255)


def test_the_bound_of_a_layer_that_sees_symbols_knows_that_they_have_signs():
    layer = carried(IntegerConv2d(8, 8, 3, input_bits=0).eval(), torch.float32)
    inputs = 127.0 * layer.integer_weight().detach().sign()
    reached = float(layer(inputs)[..., 1, 1].abs().max())
    assert 0.99 * layer.accumulator_bound(127) < reached <= layer.accumulator_bound(127)


@pytest.mark.parametrize("dtype", CARRIERS)
def test_each_quality_level_has_a_bias_of_its_own(dtype):
    torch.manual_seed(1)
    layer = IntegerConv2d(3, 5, 1, input_bits=4, levels=64).eval()
    assert layer.level_bias is not None
    torch.nn.init.normal_(layer.level_bias, std=2.0)
    carried(layer, dtype)
    x, level = torch.randint(0, 256, (3, 3, 4, 6)).to(dtype), torch.tensor([0, 9, 13])
    first, anchor, between = integers(layer(x, level=level)) - integers(layer(x))
    anchors = integers(torch.floor(layer.level_bias * 2**13 + 0.5))
    assert (first == anchors[0][:, None, None]).all()
    assert (anchor == anchors[1][:, None, None]).all()
    expected = (5 / 9 * layer.level_bias[1] + 4 / 9 * layer.level_bias[2]) * 2**13
    assert np.abs(between - expected.numpy()[:, None, None]).max() <= 1


def test_the_bound_knows_the_biases_of_all_levels():
    layer = IntegerConv2d(3, 5, 1, input_bits=4, levels=64)
    before = layer.accumulator_bound(255)
    assert layer.level_bias is not None
    torch.nn.init.constant_(layer.level_bias[7], -3.0)
    assert layer.accumulator_bound(255) == before + 3 * 2**13


@settings(max_examples=30)
@given(inputs=st.integers(1, 300), outputs=st.integers(1, 40), places=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_products_of_bytes_are_exact_up_to_the_largest_weights_and_inputs(inputs, outputs, places, seed):
    numbers = np.random.default_rng(seed)
    weight = numbers.choice([-WEIGHT_MAX, -64, -1, 0, 63, 64, WEIGHT_MAX], (outputs, inputs))
    bias = numbers.integers(-(2**20), 2**20, outputs)
    x = numbers.choice([0, 1, 128, 254, 255], (inputs, places))
    products = ByteProducts(torch.tensor(weight), torch.tensor(bias), least=128)
    found = products([as_bytes(torch.tensor(x, dtype=torch.int32)[None, :, :, None], least=128)])
    assert (found[0, :, :, 0].numpy() == weight @ x + bias[:, None]).all()


def test_a_weight_beyond_two_bytes_is_refused():
    layer = IntegerConv2d(1, 1, 1, input_bits=4)
    for weight, refused in ((WEIGHT_MAX / 512, False), ((WEIGHT_MAX + 1) / 512, True), (-16.0, True)):
        torch.nn.init.constant_(layer.weight, weight)
        if refused:
            with pytest.raises(ValueError, match=r"layer 0 of it has a weight beyond 15\.99"):
                require_exact("it", [layer], 255)
        else:
            require_exact("it", [layer], 255)


def test_products_of_bytes_are_chosen_only_where_they_are_exact(monkeypatch):
    monkeypatch.setattr(integer_layers, "multiplies_bytes_quickly", lambda: True)
    assert exact_type("cpu") == torch.int32
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.float() @ b.float()).clamp(-(2**15), 2**15 - 1).int())
    assert exact_type("cpu") == torch.float32
    monkeypatch.setattr(integer_layers, "multiplies_bytes_quickly", lambda: False)
    with torch.autocast("cpu", torch.bfloat16):
        assert exact_type("cpu") == torch.float64
