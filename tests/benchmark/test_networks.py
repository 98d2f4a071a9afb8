"""Other networks as contenders: they run in full, and code made-up latents that their decoders read back."""

import pytest
import torch

from tests import needs

pytest.importorskip("compressai", reason=needs.WHY_NO_COMPRESSAI)

from torch.utils.flop_counter import FlopCounterMode

from psic_cli import zoo
from psic_cli.benchmark.contenders import NETWORKS, PsicCodec
from psic_cli.benchmark.cost import count_cost
from psic_cli.benchmark.networks import NetworkCodec, ReleaseSizeNetwork, falling_scales, rounded_gaussian_bits
from psic_cli.benchmark.pictures import made_picture

BITS = 6000


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_codes_stand_in_latents_to_real_bytes_and_reads_them_back(name):
    rgb = made_picture(0.006)
    codec = NetworkCodec(name)
    codec.prepare(rgb.shape[0], rgb.shape[1], BITS)
    seen = []
    codec.network.g_s.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    data = codec.encode(rgb)
    assert codec.decode(data).shape == rgb.shape
    assert torch.equal(seen[0], codec.network.g_a.stand_in.round())
    assert BITS * 0.8 < 8 * len(data) < BITS * 2.5  # with what an untrained density of z takes


def test_stand_in_latents_take_the_bits_asked_for():
    scales = falling_scales(192, 80.0)
    assert rounded_gaussian_bits(scales) == pytest.approx(80.0, rel=0.01)
    assert scales[0] > 100 * scales[-1]


def test_a_rounded_gaussian_takes_the_bits_of_its_differential_entropy():
    assert rounded_gaussian_bits(torch.tensor([8.0])) == pytest.approx(2.0471 + 3, abs=1e-3)
    assert rounded_gaussian_bits(torch.tensor([1e-3])) == pytest.approx(0.0, abs=1e-6)


def test_the_release_size_decoder_has_the_published_cost():
    decoder = ReleaseSizeNetwork().g_s
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        decoder(torch.zeros(1, 320, 4, 4))
    assert counter.get_total_flops() / 2 / 64**2 / 1000 == pytest.approx(565, rel=0.01)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == pytest.approx(12.8e6, rel=0.01)


def test_costs_are_counted_as_the_layers_say():
    codec = NetworkCodec("bmshj2018-hyperprior")
    codec.prepare(256, 256, BITS)
    cost = count_cost(codec, codec.network)
    assert cost.parameters == sum(parameter.numel() for parameter in codec.network.parameters())
    # 5x5 convolutions with stride 2 and GDNs by hand: 3-128-128-128-192 at 1/2, 1/4, 1/8, 1/16 of the resolution
    analysis = sum(25 * i * 128 / 4**k for k, i in ((1, 3), (2, 128), (3, 128))) + 25 * 128 * 192 / 256
    analysis += sum(128 * 128 / 4**k for k in (1, 2, 3))
    hyper = 9 * 192 * 128 / 256 + 25 * 128 * 128 * (1 / 1024 + 1 / 4096)
    hyper_synthesis = 25 * 128 * 128 * (1 / 4096 + 1 / 1024) + 9 * 128 * 192 / 256
    assert cost.encode_kmac * 1000 == pytest.approx(analysis + hyper + hyper_synthesis, rel=1e-6)


def test_psic_stays_within_its_budget():
    model = zoo.load(zoo.DEFAULT_MODEL, device="cpu")
    cost = count_cost(PsicCodec(model, 50, effort=0), model.network)
    assert 1 < cost.encode_kmac <= 60
    assert 1 < cost.decode_kmac <= 20
    assert cost.parameters <= 12e6
