"""The network as a whole: what is stored and loaded, what training reaches, and what it does before any training."""

import dataclasses

import pytest
import torch
from torch import Tensor

from psic_cli.networks import strips
from psic_cli.networks.backbone import SYMBOL_MAX, clamp_z, rounded
from psic_cli.networks.cltg import Condition
from psic_cli.networks.config import NetworkConfig
from psic_cli.networks.context_model import STEPS
from psic_cli.networks.network import Prediction, PsicNetwork

SMALL = NetworkConfig(
    width=32,
    latents=24,
    details=8,
    hyper_width=8,
    hyper_latents=6,
    analysis_blocks=2,
    synthesis_blocks=2,
    cltg_hidden=16,
    levels=16,
)
NEUTRAL = Condition(strength=0.0, machine=0.0, short_side=224, quality=0.5).tensor(224)
MIDDLE = torch.tensor([0.5])  # of the qualities


def network(config: NetworkConfig = SMALL) -> PsicNetwork:
    """With every parameter different from zero."""
    torch.manual_seed(1)
    made = PsicNetwork(config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return made


def loaded(made: PsicNetwork) -> PsicNetwork:
    return PsicNetwork.from_tensors(made.config, made.to_tensors())


def integers(made: PsicNetwork, z: Tensor, symbols: Tensor, level: Tensor) -> tuple[Tensor, ...]:
    """What z tells, and the means and indexes of each later coding step."""
    prediction = made.predict(z, level)
    found = [prediction.mean, prediction.index, prediction.features]
    for step in range(1, STEPS):
        prediction = made.refine(prediction, symbols, step)
        found += [prediction.mean, prediction.index]
    return tuple(t.float() for t in found)


# Stored and loaded


def test_a_network_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="block cannot be 'dense', only one of bottleneck"):
        dataclasses.replace(SMALL, block="dense")


def test_what_is_loaded_is_what_was_stored():
    first = network().to_tensors()
    again = PsicNetwork.from_tensors(SMALL, first).to_tensors()
    assert first.keys() == again.keys()
    for key, value in first.items():
        assert value.dtype == again[key].dtype
        assert torch.equal(value, again[key]), key


def test_everything_that_decides_a_table_is_stored_as_an_integer():
    tensors = network().to_tensors()
    for key, tensor in tensors.items():
        if key.startswith(("h_s.", "context.")) or key in ("scaling.gain", "scaling.offset"):
            assert not tensor.dtype.is_floating_point, key
        assert tensor.is_contiguous()


def test_a_loaded_network_predicts_what_the_trained_one_did():
    trained = network().eval()
    found = loaded(trained)
    z, level = torch.randint(-60, 60, (1, 6, 3, 2)), torch.tensor([7])
    symbols = torch.randint(-99, 99, (1, 24, 12, 8))
    for dtype in (torch.float64, torch.float32, torch.int32):
        found.use_integers(dtype)
        assert found.integer_type == dtype
        for one, other in zip(
            integers(trained, z.float(), symbols, level), integers(found, z.to(dtype), symbols, level), strict=True
        ):
            assert torch.equal(one.to(dtype), other)


def test_a_loaded_network_is_ready_to_code():
    found = loaded(network())
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert found.integer_type == torch.float64
    half = {key: value.half().float() for key, value in network().g_s.state_dict().items()}
    for key, value in found.g_s.state_dict().items():
        assert torch.equal(value, half[key]), key


@pytest.mark.parametrize(
    "missing", ["g_a.stem.weight", "g_s.cltg.heads.0.weight", "h_s.3.bias", "context.1.0.weight", "scaling.offset"]
)
def test_a_missing_tensor_is_noticed(missing):
    tensors = network().to_tensors()
    del tensors[missing]
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        PsicNetwork.from_tensors(SMALL, tensors)


@pytest.mark.parametrize(
    "change", [{"latents": 23}, {"hyper_latents": 7}, {"levels": 15}, {"synthesis_blocks": 3}, {"width": 48}]
)
def test_weights_of_another_size_are_noticed(change):
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        PsicNetwork.from_tensors(dataclasses.replace(SMALL, **change), network().to_tensors())


def test_a_network_that_is_not_exact_is_neither_stored_nor_loaded():
    made = network()
    tensors = made.to_tensors()
    tensors["h_s.2.weight"][:] = 30000
    with pytest.raises(ValueError, match="layer 2"):
        PsicNetwork.from_tensors(SMALL, tensors)
    with torch.no_grad():
        made.h_s.convolutions()[2].weight.fill_(60.0)
    with pytest.raises(ValueError, match="layer 2"):
        made.to_tensors()


# Training reaches everything


def test_every_parameter_gets_a_gradient():
    made = network().train()
    with torch.no_grad():  # integer layers are coarse: signals of a fraction of a step would end in zeros
        made.h_a.layers[-1].weight.mul_(100)  # type: ignore[operator]
        for _, layer in made.integer_layers():
            layer.weight.mul_(3)
            layer.bias.abs_().add_(0.1)
    x, level = torch.rand(2, 3, 128, 128), torch.tensor([3, 9])
    y, z = made.analyse(x, made.config.quality(level))
    scaled = y * made.scaling.integer_gain(level) / 1024
    prediction = made.predict(z, level)
    for step in range(1, STEPS):
        prediction = made.refine(prediction, scaled - prediction.mean / 16, step)
    mean, index = prediction.mean, prediction.index
    y_hat = made.restore(scaled - mean / 16, prediction, level)
    x_hat = made.synthesise(y_hat, torch.tensor([[1.0, 0.0, 0.5, 0.2], [0.3, 1.0, -0.2, 1.0]]))
    ((x_hat - x).square().sum() + index.square().sum() + (scaled - mean / 16).square().sum()).backward()
    without = [
        name
        for name, parameter in made.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert without == []


KINDS = [
    {},
    {"block": "gated", "activation": "silu", "analysis_width": 48},
    {"block": "depthwise", "activation": "leaky", "analysis_width": 24},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_training_and_evaluation_compute_the_same(kind):
    made = network(dataclasses.replace(SMALL, **kind))
    x, conditions = torch.rand(2, 3, 128, 64), torch.tensor([[1.0, 0.0, 0.5, 0.2], [0.3, 1.0, -0.2, 1.0]])
    with torch.no_grad():
        results = []
        for one in (made.train(), made.eval()):
            y, z = one.analyse(x, conditions[:, 3])
            symbols = (y * 3).round()
            coded = integers(one, clamp_z(z), symbols, torch.tensor([3, 9]))
            results.append((y, z, one.synthesise(y, conditions), *coded))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


# Before any training


@pytest.mark.parametrize("kind", [{}, {"block": "gated", "analysis_width": 256}], ids=str)
def test_an_untrained_codec_is_a_block_transform_codec(kind):
    """With as many latents as there are numbers in a block, synthesis undoes analysis."""
    torch.manual_seed(0)
    config = NetworkConfig(
        width=192, latents=768, hyper_width=8, hyper_latents=4, analysis_blocks=1, synthesis_blocks=1, **kind
    )
    made = PsicNetwork(config).eval()
    x = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 9), (64, 64), mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        y, _ = made.analyse(x, MIDDLE)
        x_hat = made.synthesise(y, NEUTRAL)
    assert (x_hat - x).square().mean() < 1e-6


def test_fewer_latents_lose_the_least_important_part():
    torch.manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 9), (64, 64), mode="bicubic").clamp(0, 1)
    errors = []
    for latents in (6, 24, 96):
        config = NetworkConfig(width=192, latents=latents, hyper_width=8, hyper_latents=4)
        made = PsicNetwork(config).eval()
        with torch.no_grad():
            errors.append(float((made.synthesise(made.analyse(x, MIDDLE)[0], NEUTRAL) - x).square().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.005


def test_an_untrained_condition_changes_nothing():
    made = PsicNetwork(SMALL).eval()
    y = torch.randn(1, 24, 4, 4)
    with torch.no_grad():
        full = made.synthesise(y, NEUTRAL)
        assert torch.equal(made.synthesise(y, Condition(1.0, 1.0, 1000, 0.5).tensor(2000)), full)


# Symbols


def test_symbols_and_their_inverse_fit_together():
    made = loaded(network())
    y, level = torch.randn(1, 24, 4, 4) * 50, torch.tensor([12])
    mean = torch.randint(-300, 300, y.shape)
    symbols = rounded(made.scale(y, level), mean)
    assert torch.equal(symbols, symbols.round())
    gain = made.scaling.integer_gain(level) / 1024
    assert (((symbols + mean / 16) / gain - y).abs() <= 0.5001 / gain).all()
    restored = made.restore(symbols, Prediction(mean, mean, mean, level), level)
    torch.testing.assert_close(restored, (symbols + mean / 16) * made.scaling.inverse_gain(level))


def test_symbols_of_hopeless_latents_are_clamped():
    made = loaded(network())
    y = torch.tensor([1e9, -1e9]).repeat(12).reshape(1, 24, 1, 1)
    assert rounded(made.scale(y, torch.tensor([15])), torch.zeros(1, 24, 1, 1)).abs().eq(SYMBOL_MAX).all()


def test_symbols_are_those_of_latents_around_the_means_that_earlier_steps_tell():
    made = loaded(network())
    z, level = torch.randint(-60, 60, (1, 6, 3, 2)).double(), torch.tensor([7])
    scaled = torch.randn(1, 24, 12, 8) * 9
    symbols, prediction = made.code(scaled, z, level)
    assert torch.equal(symbols, rounded(scaled, prediction.mean))
    again = integers(made, z, symbols, level)
    assert torch.equal(again[-2], prediction.mean)
    assert torch.equal(again[-1], prediction.index)


def test_symbols_and_what_is_told_of_them_are_the_same_in_strips(monkeypatch):
    made = loaded(network())
    z, level = torch.randint(-60, 60, (1, 6, 9, 2)).double(), torch.tensor([7])
    scaled = torch.randn(1, 24, 36, 8) * 9
    symbols, prediction = made.code(scaled, z, level)
    monkeypatch.setattr(strips, "STRIP_CELLS", 1)
    again, told = made.code(scaled, z, level)
    assert torch.equal(again, symbols)
    assert torch.equal(told.mean, prediction.mean)
    assert torch.equal(told.index, prediction.index)
    restored = made.restore(symbols, prediction, level)
    assert torch.equal(made.restore(symbols.int(), prediction, level), restored)


def test_z_is_rounded_and_clamped():
    z = torch.tensor([-1e6, -127.4, -0.5, 0.49, 0.5, 126.6, 1e6])
    assert clamp_z(z).tolist() == [-127, -127, 0, 0, 1, 127, 127]
