"""The integer entropy network: what it computes is plain integer arithmetic, in every type that carries it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from psic_cli.bitstream.tables import N_SCALES, SCALES
from psic_cli.networks import entropy_model
from psic_cli.networks.entropy_model import (
    GAIN_MAX,
    FrozenScaling,
    HyperSynthesis,
    LatentScaling,
    scale_index,
    scale_mean,
    scale_of_index,
)
from psic_cli.networks.integer_layers import interpolated
from tests.networks.test_integer_layers import CARRIERS, carried, convolved, integers

LEVEL = torch.tensor([40])


def network(**sizes: int) -> HyperSynthesis:
    torch.manual_seed(3)
    return HyperSynthesis(**{"channels": 3, "width": 8, "latents": 5, "levels": 64, **sizes}).eval()


@pytest.mark.parametrize("dtype", CARRIERS)
def test_the_whole_network_is_integer_arithmetic(dtype):
    h_s = carried(network(), dtype)
    with torch.no_grad():
        for layer in h_s.convolutions():
            layer.weight.mul_(3)
            if layer.level_bias is not None:
                layer.level_bias.normal_(0, 2)
        h_s.check_exact()
        z = torch.randint(-127, 128, (1, 3, 3, 2))
        mean, index, features = h_s(z.to(dtype), LEVEL)
    h = z[0].numpy()
    inputs = []
    for number, layer in enumerate(h_s.convolutions()):
        inputs.append(h)
        biases = integers(layer.integer_bias())
        if number in (0, 2, 4):
            biases = biases + integers(layer.integer_level_bias(LEVEL))[0, :, 0, 0]
        h = convolved(h, integers(layer.integer_weight()), biases)
        if number < 5:
            shift = 5 if number == 0 else 9
            h = np.clip((h + 2 ** (shift - 1)) // 2**shift, 0, 255)
        if number in (1, 3):
            channels, rows, columns = h.shape
            h = h.reshape(channels // 4, 2, 2, rows, columns).transpose(0, 3, 1, 4, 2)
            h = h.reshape(channels // 4, 2 * rows, 2 * columns)
    assert (integers(mean)[0] == np.clip((h[:5] + 32) // 64, -4095, 4095)).all()
    assert (integers(index)[0] == (h[5:] + 256) // 512).all()
    assert (integers(features)[0] == inputs[-1]).all()
    assert len(np.unique(integers(index))) > 3


@given(
    st.lists(
        st.tuples(
            st.integers(-4095, 4095), st.integers(1, GAIN_MAX), st.integers(-(2**15), 2**15), st.integers(-64, 64)
        ),
        min_size=1,
    )
)
@pytest.mark.parametrize("dtype", CARRIERS)
def test_scaling_by_quality_is_integer_arithmetic(dtype, numbers):
    mean, gain, index, offset = torch.tensor(numbers, dtype=dtype).T
    found = list(
        zip(integers(scale_mean(mean, gain)).tolist(), integers(scale_index(index, offset)).tolist(), strict=True)
    )
    assert found == [((m * g + 512) // 1024, min(63, max(0, i + o))) for m, g, i, o in numbers]


# Exactness


def test_an_ordinary_network_is_exact():
    network().check_exact()


@pytest.mark.parametrize("number", range(6))
def test_weights_that_could_leave_exact_arithmetic_are_refused(number):
    h_s = network()
    with torch.no_grad():
        h_s.convolutions()[number].weight[1] = 500.0
    with pytest.raises(ValueError, match=f"layer {number} .* exact"):
        h_s.check_exact()


def test_a_bias_that_could_leave_exact_arithmetic_is_refused():
    h_s = network()
    with torch.no_grad():
        h_s.convolutions()[2].bias[0] = -(2.0**24) / 2**13
    with pytest.raises(ValueError, match="layer 2"):
        h_s.check_exact()


def test_not_a_number_is_not_exact():
    h_s = network()
    with torch.no_grad():
        h_s.convolutions()[4].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="layer 4"):
        h_s.check_exact()


# Scales and gains


def test_the_network_and_the_tables_mean_the_same_scales():
    assert len(SCALES) == N_SCALES
    np.testing.assert_allclose(scale_of_index(torch.arange(64.0)).numpy(), SCALES, rtol=1e-5)


def test_gains_are_interpolated_between_anchors_on_a_log_scale():
    scaling = LatentScaling(2, levels=64)  # an anchor every 9 levels
    with torch.no_grad():
        scaling.log_gain.copy_(torch.arange(8.0)[:, None] * -0.3 + torch.tensor([0.0, -0.2]))
    levels = torch.arange(64)
    gain = interpolated(scaling.log_gain, levels, 64)[:, :, 0, 0]
    expected = levels[:, None] / 9 * -0.3 + torch.tensor([0.0, -0.2])
    torch.testing.assert_close(gain, expected)
    integer = scaling.integer_gain(levels)[:, :, 0, 0]
    assert integer.shape == (64, 2)
    assert (integer == (expected.exp() * 1024 + 0.5).floor().clamp(1, 2048)).all()
    offset = scaling.index_offset(levels)[:, :, 0, 0]
    assert (offset == (expected / entropy_model.LOG_SCALE_STEP + 0.5).floor()).all()


def test_levels_start_as_steps_for_their_lambda():
    scaling = LatentScaling(3)
    gain = scaling.integer_gain(torch.arange(64))[:, 0, 0, 0].detach()
    inverse = scaling.inverse_gain(torch.arange(64))[:, 0, 0, 0].detach()
    assert (gain.diff() > 0).all()
    assert float(gain[0] / 1024) == pytest.approx((0.0008 / 0.05) ** 0.5, rel=1e-2)
    assert float(gain[63] / 1024) == pytest.approx((0.08 / 0.05) ** 0.5, rel=1e-2)
    torch.testing.assert_close(gain / 1024 * inverse, torch.ones(64), rtol=5e-3, atol=0)


def test_a_frozen_scaling_says_what_the_trained_one_said():
    scaling = LatentScaling(4)
    torch.nn.init.normal_(scaling.log_gain, -1.0, 0.5)
    torch.nn.init.normal_(scaling.log_inverse, 1.0, 0.5)
    frozen, level = scaling.freeze(), torch.tensor([0, 17, 40, 63])
    for part in ("integer_gain", "index_offset", "inverse_gain"):
        assert torch.equal(getattr(frozen, part)(level), getattr(scaling, part)(level))


@pytest.mark.parametrize(("gain", "offset"), [(0, 0), (2049, 0), (1024, 65), (1024, -65), (float("nan"), 0)])
def test_gains_out_of_range_are_refused(gain, offset):
    gains, offsets = torch.full((64, 2), 1024.0), torch.zeros(64, 2)
    gains[3, 1], offsets[3, 1] = gain, offset
    with pytest.raises(ValueError, match="out of range"):
        FrozenScaling(gains, offsets, torch.ones(64, 2))
