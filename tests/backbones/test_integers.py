"""Trained layers in integers: close to what was trained, and the same numbers whatever carries them."""

import pytest
import torch
from torch.nn import functional as F

from psic_cli.backbones.integers import (
    HIDDEN,
    OUTPUTS,
    SYMBOLS,
    Activation,
    IntegerChain,
    IntegerLayer,
    LayerKind,
    Reach,
    RealLayer,
    make_exact,
    read_chain,
    upsampling,
)
from psic_cli.networks import strips
from psic_cli.networks.integer_layers import EXACT_LIMIT

BYTES = Reach(0, 255)


def real(outputs=6, inputs=5, kernel=3, activation=Activation.NONE, shuffle=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs * shuffle**2, inputs, kernel, kernel, generator=generator)
    return RealLayer(weight, torch.randn(len(weight), generator=generator), activation, shuffle)


def integers(reach, *shape, seed=0):
    return torch.randint(reach.low, reach.high + 1, shape, generator=torch.Generator().manual_seed(seed)).double()


def in_whole_numbers(layer, x):
    """The layer's definition, word by word, in 64-bit integers."""
    acc = F.conv2d(x, layer.weight, padding=layer.weight.shape[2] // 2).long() + layer.bias.long()[:, None, None]
    shift = layer.shift.long()[:, None, None]
    h = (acc + (1 << (shift - 1))) >> shift
    if layer.activation is Activation.LEAKY:
        h = torch.where(h < 0, (5 * h.clamp_min(-4096) + 256) >> 9, h)
    h = h.clamp(layer.reach.low, layer.reach.high)
    return F.pixel_shuffle(h, layer.shuffle)


def test_a_transposed_convolution_is_a_convolution_and_a_shuffle():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(4, 3, 5, 5, generator=generator), torch.randn(3, generator=generator)
    x = torch.randn(2, 4, 6, 7, generator=generator)
    expected = F.conv_transpose2d(x, weight, bias, stride=2, padding=2, output_padding=1)
    torch.testing.assert_close(upsampling(weight, bias, Activation.NONE)(x), expected)
    torch.testing.assert_close(upsampling(weight, bias, Activation.LEAKY)(x), F.leaky_relu(expected))


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize(("kernel", "shuffle"), [(1, 1), (3, 1), (3, 2), (5, 1)])
def test_a_layer_gives_the_integers_of_its_definition_in_either_float_type(activation, kernel, shuffle):
    layer = make_exact(
        real(kernel=kernel, activation=activation, shuffle=shuffle),
        torch.full((5,), 0.02),
        BYTES,
        torch.full((6,), 0.02 * kernel),
        HIDDEN[activation],
    )
    x = integers(BYTES, 2, 5, 6, 7)
    expected = in_whole_numbers(layer, x)
    assert 0 < (expected == HIDDEN[activation].high).double().mean() < 0.9  # some saturate
    for dtype in (torch.float64, torch.float32):
        assert torch.equal(layer.to(dtype)(x.to(dtype)).long(), expected)


def test_a_layer_is_as_close_to_the_real_one_as_its_integers_allow():
    exact, inputs = real(outputs=8), torch.linspace(0.01, 0.05, 5)
    layer = make_exact(exact, inputs, BYTES, torch.full((8,), 0.25), OUTPUTS)
    x = integers(BYTES, 1, 5, 9, 9)
    wanted = exact(x * inputs[:, None, None])
    assert (layer(x) * 0.25 - wanted).abs().max() < 0.25 * 0.52


def test_taps_without_weights_are_left_out_and_change_nothing():
    weight, bias = torch.randn(4, 3, 5, 5), torch.randn(3)
    layer = make_exact(upsampling(weight, bias, Activation.RELU), torch.ones(4), BYTES, torch.full((3,), 9.0), BYTES)
    masked = torch.randint(-9, 10, (2, 4, 3, 3)).double() * torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    cross = IntegerLayer(masked, torch.tensor([7.0, -9]), torch.ones(2), Activation.NONE, 1, OUTPUTS)
    x = integers(BYTES, 1, 4, 5, 5)
    for made, taps in ((layer, 9), (cross, 4)):
        assert len(made._taps) == taps
        assert torch.equal(made(x).long(), in_whole_numbers(made, x))
    silent = IntegerLayer(torch.zeros(2, 3, 3, 3), torch.tensor([7.0, -9]), torch.ones(2), Activation.NONE, 1, OUTPUTS)
    assert torch.equal(silent(integers(BYTES, 1, 3, 4, 4))[0, :, 0, 0], torch.tensor([4.0, -4.0], dtype=torch.float64))


def test_large_pictures_are_computed_in_strips_with_the_same_result(monkeypatch):
    layer = make_exact(real(shuffle=2), torch.ones(5), BYTES, torch.full((6,), 9.0), HIDDEN[Activation.NONE])
    x = integers(BYTES, 1, 5, 40, 6)
    expected = layer(x)
    monkeypatch.setattr(strips, "STRIP_CELLS", 30)
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("inputs", [BYTES, SYMBOLS, Reach(-16, 255)])
def test_no_input_within_its_reach_leaves_the_range_that_float32_holds(inputs):
    layer = make_exact(real(outputs=7, inputs=64), torch.ones(64), inputs, torch.full((7,), 3.0), OUTPUTS)
    weight = layer.weight.flatten(1)
    for row, bias, shift in zip(weight, layer.bias, layer.shift, strict=True):
        most = torch.where(row > 0, inputs.high, inputs.low).double() @ row + bias
        least = torch.where(row > 0, inputs.low, inputs.high).double() @ row + bias
        assert max(most.abs(), least.abs()) + 2 ** (shift - 1) < EXACT_LIMIT
    assert (layer.weight.abs().amax((1, 2, 3)) > 2**7).all()  # and precision is not given away


def test_what_cannot_be_exact_is_refused():
    with pytest.raises(ValueError, match="leave the range of exact arithmetic"):
        make_exact(real(), torch.full((5,), 1e6), BYTES, torch.ones(6), OUTPUTS)
    with pytest.raises(ValueError, match="leave the range of exact arithmetic"):
        make_exact(real(), torch.full((5,), float("nan")), BYTES, torch.ones(6), OUTPUTS)
    chain = IntegerChain([make_exact(real(), torch.ones(5), BYTES, torch.full((6,), 9.0), OUTPUTS)], BYTES)
    tensors = chain.to_tensors("h_s")
    tensors["h_s.0.bias"] = torch.full((6,), 2**24, dtype=torch.int32)
    with pytest.raises(ValueError, match="layer 0: a sum can reach"):
        read_chain(tensors, "h_s", [LayerKind()], BYTES, OUTPUTS)


def test_a_chain_comes_back_from_its_tensors():
    layers = [
        make_exact(
            real(4, 5, 3, Activation.LEAKY, 2), torch.ones(5), SYMBOLS, torch.full((4,), 9.0), HIDDEN[Activation.LEAKY]
        ),
        make_exact(real(6, 4, 1), torch.ones(4), HIDDEN[Activation.LEAKY], torch.full((6,), 9.0), OUTPUTS),
    ]
    chain = IntegerChain(layers, SYMBOLS)
    again = read_chain(chain.to_tensors("h_s"), "h_s", [LayerKind(Activation.LEAKY, 2), LayerKind()], SYMBOLS, OUTPUTS)
    x = integers(SYMBOLS, 1, 5, 6, 6)
    assert again.inputs_and_outputs == (5, 6)
    assert torch.equal(again(x), chain(x))
    with pytest.raises(KeyError):
        read_chain(chain.to_tensors("h_s"), "near", [LayerKind()], SYMBOLS, OUTPUTS)
    with pytest.raises(ValueError, match="do not fit"):
        read_chain({**chain.to_tensors("h_s"), "h_s.0.bias": torch.zeros(3)}, "h_s", [LayerKind()], SYMBOLS, OUTPUTS)
