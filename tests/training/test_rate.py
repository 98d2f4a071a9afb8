"""The estimated rate of training is the size of the files that the exported model writes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load as load_arrays

from psic_cli import codec, zoo
from psic_cli.bitstream.header import quality_level
from psic_cli.bitstream.tables import SCALES, TOTAL, TableSet
from psic_cli.networks.backbone import clamp_z
from psic_cli.networks.layers import pad_to_multiple
from psic_cli.networks.network import PsicNetwork
from psic_cli.picture import Picture
from psic_cli.training.data import to_tensor
from psic_cli.training.export import export
from psic_cli.training.rate import RateModel, of_unit_bin
from tests.training.conftest import SMALL, smooth_picture


@pytest.fixture
def parts() -> tuple[PsicNetwork, RateModel]:
    """A network whose scales are about those of the pictures: what even a short training finds."""
    torch.manual_seed(4)
    network, rate = PsicNetwork(SMALL), RateModel(SMALL)
    rate.start_from(network, torch.stack([to_tensor(smooth_picture(seed, 256, 256)) for seed in range(4)]))
    with torch.no_grad():  # a little wider, so that the tails of a Gaussian and of a table do not matter
        network.h_s.convolutions()[-1].bias[SMALL.latents :] += 6 / 16
        for context in network.context_models():
            context.convolutions()[-1].weight.normal_(0, 0.05)
    return network, rate


@pytest.mark.parametrize("quality", [10, 60, 100])
def test_a_file_is_as_large_as_training_thinks(parts, tmp_path, monkeypatch, quality):
    network, rate = parts
    export(network, rate, tmp_path / "small", "small")
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path))
    model = zoo.load("small", precision="float32", integers="float32")
    rgb = smooth_picture(50, 500, 700)
    data = codec.encode(Picture(rgb), bytes(32), model=model, quality=quality, strength=0)
    x = pad_to_multiple(to_tensor(rgb)[None], 64)
    with torch.no_grad():
        level = torch.tensor([quality_level(quality, SMALL.levels, 500, SMALL.even_from)])
        _, y_bits, z_bits = rate.eval()(model.network, x, level)
    bits = float(y_bits.sum() + z_bits)
    assert bits > 20000
    assert abs(8 * len(data) - bits) <= 0.01 * bits + 8 * 96


def test_what_training_hands_to_the_synthesis_is_what_a_decoder_has(parts):
    network, rate = parts
    level = torch.tensor([40])
    x = to_tensor(smooth_picture(51, 128, 128))[None]
    with torch.no_grad():
        y_hat, _, _ = rate(network.eval(), x, level)
        y, z = network.analyse(x, network.config.quality(level))
        symbols, prediction = network.code(network.scale(y, level), clamp_z(z), level)
        torch.testing.assert_close(y_hat, network.restore(symbols, prediction, level), rtol=1e-5, atol=1e-3)


def test_noise_costs_about_what_rounding_costs(parts):
    network, rate = parts
    x = torch.stack([to_tensor(smooth_picture(seed, 128, 128)) for seed in range(4)])
    level = torch.full((4,), 50)
    with torch.no_grad():
        noisy = sum(float(bits.sum()) for bits in rate.train()(network, x, level)[1:])
        rounded = sum(float(bits.sum()) for bits in rate.eval()(network, x, level)[1:])
    assert noisy == pytest.approx(rounded, rel=0.05)


# Export


def test_export_writes_a_model_that_the_zoo_takes(parts, tmp_path, monkeypatch):
    network, rate = parts
    folder = export(network, rate, tmp_path / "models" / "small", "small", {"licence": "Apache-2.0"})
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "models"))
    card = zoo.find_card("small")
    zoo.verify(card)
    assert card.data["licence"] == "Apache-2.0"
    assert card.data["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert card.data["network"] == json.loads(json.dumps(SMALL.to_dict()))
    loaded = zoo.load("small").network
    assert isinstance(loaded, PsicNetwork)
    assert loaded.config == SMALL


def test_export_twice_gives_equal_files_and_leaves_the_training_as_it_was(parts, tmp_path):
    network, rate = parts
    before = {key: value.clone() for key, value in rate.state_dict().items()}
    files = [(export(network, rate, tmp_path / name, "small") / zoo.WEIGHTS_FILE).read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert rate.prior.training
    for key, value in rate.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key])


def test_tables_of_z_are_the_prior(parts, tmp_path):
    network, rate = parts
    with torch.no_grad():  # channels that differ
        for parameter in rate.prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    folder = export(network, rate, tmp_path / "small", "small")
    arrays = load_arrays((folder / zoo.WEIGHTS_FILE).read_bytes())
    tables = TableSet.from_arrays(arrays, "tables.z")
    assert len(tables) == SMALL.z_bands * SMALL.hyper_latents
    symbols = torch.arange(-127.0, 128.0).expand(SMALL.z_bands, SMALL.hyper_latents, 1, -1)
    with torch.no_grad():
        likelihood = rate.prior(symbols, torch.arange(SMALL.z_bands)).flatten(0, 2).numpy()
    for table in range(len(tables)):
        first, size = int(tables.offsets[table]), int(tables.sizes[table])
        shares = np.diff(tables.row(table)) / TOTAL
        assert shares[:-1] == pytest.approx(likelihood[table, first + 127 : first + 127 + size], abs=1e-4)
        assert shares[-1] < 1e-3


def test_a_network_that_is_not_exact_is_not_exported(parts, tmp_path):
    network, rate = parts
    with torch.no_grad():
        network.h_s.convolutions()[2].weight.fill_(100.0)
    with pytest.raises(ValueError, match="layer 2"):
        export(network, rate, tmp_path / "small", "small")
    assert not (tmp_path / "small").exists()


def test_symbols_are_counted_and_shape_the_tables(parts, tmp_path, monkeypatch):
    network, rate = parts
    x = torch.stack([to_tensor(smooth_picture(seed, 128, 128)) for seed in range(4)])
    monkeypatch.setattr(torch, "randint", lambda _, size, device: torch.full(size, 50))
    level = torch.full((4,), 50)
    rate(network, x, level)
    assert not rate.counts.any()
    rate.count(network.eval(), [x, x])
    assert rate.counts.sum() == 2 * 4 * SMALL.latents * 8 * 8
    with torch.no_grad():
        y, z = network.analyse(x, network.config.quality(level))
        symbols, prediction = network.code(network.scale(y, level), clamp_z(z), level)
    for scale in range(len(SCALES)):
        there = symbols[prediction.index == scale].abs()
        assert rate.counts[scale, :3].tolist() == [2 * int((there == magnitude).sum()) for magnitude in range(3)]

    rate.counts.mul_(1000)
    arrays = load_arrays((export(network, rate, tmp_path / "small", "small") / zoo.WEIGHTS_FILE).read_bytes())
    tables, seen = TableSet.from_arrays(arrays, "tables.y"), rate.counts.sum(1)
    scale = int(seen.argmax())
    share = np.diff(tables.row(scale))[-int(tables.offsets[scale])] / TOTAL
    assert share == pytest.approx(float(rate.counts[scale, 0] / seen[scale]), rel=0.01)


def test_the_density_of_z_is_learned_from_a_trained_encoder(parts):
    network, _ = parts
    x = torch.stack([to_tensor(smooth_picture(seed, 128, 128)) for seed in range(8)])
    afresh, level = RateModel(replace(SMALL, z_bands=1)), torch.randint(SMALL.levels, (len(x),))
    with torch.no_grad():
        afresh.prior.log_scale.add_(2)
        z = clamp_z(network.analyse(x, SMALL.quality(level))[1])
        before = -afresh.eval().z_likelihood(z, level).log2().sum()
    afresh.train().fit_prior(network, x)
    with torch.no_grad():
        after = -afresh.eval().z_likelihood(z, level).log2().sum()
    entropy = 0.0
    for channel in z.transpose(0, 1).flatten(1).round():
        counts = channel.unique(return_counts=True)[1].float()
        entropy += float(-(counts * (counts / counts.sum()).log2()).sum())
    assert after < 0.9 * before
    assert entropy <= after <= 1.3 * entropy


def test_each_range_of_levels_has_a_density_of_z_of_its_own():
    torch.manual_seed(5)
    rate, level = RateModel(SMALL).eval(), torch.tensor([0, 63, 2, 40])
    with torch.no_grad():
        for parameter in rate.prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        z = torch.randint(-4, 5, (4, SMALL.hyper_latents, 2, 3)).float()
        found = rate.z_likelihood(z, level)
        for sample, band in enumerate([0, 7, 0, 5]):
            torch.testing.assert_close(found[sample], rate.prior(z[sample][None], torch.tensor([band]))[0])


def test_the_density_of_z_is_one_also_far_out():
    prior = RateModel(SMALL).prior
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        z = torch.arange(-400.0, 401.0).expand(1, SMALL.hyper_latents, 1, -1)
        mass = prior(z, torch.tensor([3]))
    assert (mass >= 0).all()
    torch.testing.assert_close(mass.sum((0, 2, 3)), torch.ones(SMALL.hyper_latents), rtol=1e-4, atol=0)
    assert (mass[..., 400 + 20] > 0).all()  # 20 steps out the tail is still a number, not a difference of two ones


def test_a_unit_bin_has_the_mass_of_a_gaussian():
    distance, scale = torch.tensor([0.0, -1.0, 3.0, 30.0]), torch.tensor([0.5, 1.0, 2.0, 8.0])
    normal = torch.distributions.Normal(0.0, scale.double())
    expected = normal.cdf(0.5 - distance.abs()) - normal.cdf(-0.5 - distance.abs())
    torch.testing.assert_close(of_unit_bin(distance, scale), expected.float())
