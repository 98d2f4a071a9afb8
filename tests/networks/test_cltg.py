"""Conditions, their Fourier features and the biases made of them."""

import math

import pytest
import torch

from psic_cli.networks.cltg import (
    LEARNED_QUALITIES,
    OCTAVES,
    Condition,
    ConditionalLatentTriggerGenerator,
    QualityBiases,
    fourier_features,
)
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.layers import Bottleneck, convolve
from psic_cli.networks.network import PsicNetwork

SMALL = NetworkConfig(width=16, latents=12, hyper_width=8, hyper_latents=4, cltg_hidden=16)


@pytest.mark.parametrize(
    ("short_side", "largest", "scale"),
    [(224, 896, 0.0), (448, 896, 1.0), (896, 896, 2.0), (3000, 896, 2.0), (1, 896, 0.0), (223, 224, 0.0)],
)
def test_the_scale_of_a_condition_is_an_octave_of_the_short_side(short_side, largest, scale):
    tensor = Condition(strength=0.25, machine=1.0, short_side=short_side, quality=0.75).tensor(largest)
    assert tensor.shape == (1, 4)
    assert tensor.dtype == torch.float32
    assert tensor[0].tolist() == pytest.approx([0.25, 1.0, scale, 0.75])


def test_fourier_features_by_hand():
    found = fourier_features(torch.tensor([[1.0, 0.5, 2.0, 0.3]])).reshape(4, 1 + 2 * OCTAVES)
    for row, value in zip(found.tolist(), (1.0, 0.5, 0.5, 0.3), strict=True):  # the scale counts a quarter
        angles = [value * 2**k for k in range(OCTAVES)]
        expected = [value, *(math.sin(a) for a in angles), *(math.cos(a) for a in angles)]
        assert row == pytest.approx(expected, abs=1e-6)


def test_fourier_features_of_a_batch_are_those_of_its_rows():
    conditions = torch.rand(5, 4)
    together = fourier_features(conditions)
    assert torch.equal(together, torch.cat([fourier_features(row[None]) for row in conditions]))


def test_biases_have_the_shape_of_their_slots_and_start_at_zero():
    generator = ConditionalLatentTriggerGenerator([5, 7], hidden=16)
    biases = generator(torch.rand(4, 4))
    assert [tuple(bias.shape) for bias in biases] == [(4, 5, 1, 1), (4, 7, 1, 1)]
    assert not any(bias.any() for bias in biases)


def test_the_full_version_is_the_origin_at_every_size():
    torch.manual_seed(4)
    generator = ConditionalLatentTriggerGenerator([5, 7], hidden=16)
    for weight in generator.heads.parameters():
        torch.nn.init.normal_(weight)
    with torch.no_grad():
        assert not any(bias.any() for bias in generator(torch.tensor([[0.0, 0.0, 0.0, 0.2], [0.0, 0.0, 2.3, 1.0]])))
        for other in ([1.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.0, 1.0], [0.5, 0.0, 2.3, 0.5]):
            assert all(bias.abs().max() > 1e-3 for bias in generator(torch.tensor([other])))


def test_a_condition_means_the_same_under_autocast():
    cltg = ConditionalLatentTriggerGenerator([4, 8], hidden=16)
    for head in cltg.heads.parameters():
        head.data.normal_()
    condition = torch.tensor([[0.3, 1.0, 0.7, 0.2]])
    plain = cltg(condition)
    with torch.autocast("cpu", torch.bfloat16):
        for a, b in zip(cltg(condition), plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def test_biases_of_a_quality_lie_between_those_learned_around_it():
    biases = QualityBiases([2, 3])
    assert not any(bias.any() for bias in biases(torch.rand(3)))
    with torch.no_grad():
        biases.learned.copy_(torch.arange(LEARNED_QUALITIES)[:, None] + 10.0 * torch.arange(5))
        first, second = biases(torch.tensor([0.0, 1.0, 2.25 / (LEARNED_QUALITIES - 1)]))
    assert first.shape == (3, 2, 1, 1)
    assert second.shape == (3, 3, 1, 1)
    found = torch.cat([first, second], dim=1)[:, :, 0, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, LEARNED_QUALITIES - 1, 2.25])[:, None] + 10 * torch.arange(5))


def test_a_block_takes_as_many_biases_as_it_says():
    block = Bottleneck(8)
    left = iter([*(torch.randn(1, width, 1, 1) for width in block.slots()), torch.zeros(1)])
    with torch.no_grad():
        block(torch.rand(1, 8, 8, 8), left)
    assert len(list(left)) == 1


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_folded_bias_is_an_added_one(kernel):
    convolution = torch.nn.Conv2d(6, 8, kernel, padding=kernel // 2)
    x, trigger = torch.randn(1, 6, 9, 7), torch.randn(1, 8, 1, 1)
    with torch.no_grad():
        folded = convolve(convolution, x, trigger)
        torch.testing.assert_close(folded, convolution(x) + trigger)


def test_one_picture_at_a_time_gives_what_a_batch_gives():
    """A batch adds its biases, one picture folds them into the convolutions."""
    torch.manual_seed(2)
    network = PsicNetwork(SMALL).eval()
    with torch.no_grad():
        for parameter in network.g_s.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        y = torch.randn(2, 12, 8, 4) * 20
        conditions = torch.tensor([[1.0, 0.0, 0.5, 0.2], [0.0, 1.0, -0.2, 1.0]])
        together = network.synthesise(y, conditions)
        alone = [network.synthesise(y[i : i + 1], conditions[i : i + 1]) for i in range(2)]
    assert (together[0] - together[1]).abs().max() > 0.1
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-4, atol=1e-4)
