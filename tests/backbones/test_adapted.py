"""CompressAI's networks as psic's: the same pictures from the same weights, in integers where a table is decided."""

import pytest
import torch

from psic_cli.backbones import architectures, checkpoint
from psic_cli.backbones.architectures import (
    CHEQUERBOARD,
    ELIC,
    FACTORIZED,
    GROUPED,
    MEAN,
    NAMES,
    OFFICIAL,
    SCALE,
    SOURCE,
    VARIABLE,
)
from psic_cli.backbones.convert import convert
from psic_cli.bitstream.tables import SCALES, TableSet
from psic_cli.networks import strips
from psic_cli.networks.backbone import MEAN_BITS, clamp_z
from tests import needs
from tests.backbones import made

LEVEL = torch.zeros(1, dtype=torch.long)
FULL = torch.zeros(1, 4)


def read(name, converted=None):
    converted = converted or made.converted(name)
    return architectures.read(SOURCE + name, converted.network, dict(converted.tensors))


@torch.no_grad()
def coded(network, x):
    y, z = network.analyse(x, network.quality(LEVEL))
    return y, clamp_z(z), *network.code(network.scale(y, LEVEL), clamp_z(z), LEVEL)


@pytest.mark.parametrize("name", NAMES)
def test_the_symbols_are_those_of_the_latents_around_their_means(name):
    network, x = read(name), made.photo()
    y, z, symbols, told = coded(network, x)
    assert y.shape == (1, made.WIDTH if name == CHEQUERBOARD else made.LATENTS, 8, 12)
    assert z.shape == (1, 0 if name == FACTORIZED else made.WIDTH, 2, 3)
    assert len(symbols.unique()) > 3
    assert torch.equal(told.mean, told.mean.round())
    assert torch.equal(told.index, told.index.round())
    y_hat = network.restore(symbols, told, LEVEL)
    assert (symbols + told.mean / 2**MEAN_BITS - network.scale(y, LEVEL)).abs().max() < 0.501
    if name not in VARIABLE:
        assert (y_hat - y).abs().max() < 0.501
    with torch.no_grad():
        assert network.synthesise(y_hat, FULL).shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_a_decoder_finds_the_encoders_predictions_step_by_step(name):
    network, x = read(name), made.photo()
    _, z, symbols, told = coded(network, x)
    found = torch.zeros_like(symbols, dtype=torch.int32)
    prediction = network.predict(z, LEVEL)
    for step in range(network.steps):
        if step:
            prediction = network.refine(prediction, found, step)
        planes = found[0].numpy()
        network.put_step(planes, step, network.of_step(symbols[0].int().numpy(), step))
    assert torch.equal(found, symbols.int())
    assert torch.equal(prediction.mean, told.mean)
    assert torch.equal(prediction.index, told.index)


@pytest.mark.parametrize("name", NAMES)
def test_integers_do_not_depend_on_what_carries_them(name):
    network, x = read(name), made.photo()
    _, z, symbols, _ = coded(network, x)
    found = []
    for dtype in (torch.float64, torch.float32, torch.int32):
        network.use_integers(dtype)
        assert network.integer_type in (torch.float64, torch.float32)
        _, told = network.code(symbols, z.to(dtype), LEVEL)
        found.append((told.mean.double(), told.index.double()))
    for mean, index in found[1:]:
        assert torch.equal(mean, found[0][0])
        assert torch.equal(index, found[0][1])


def test_the_latents_of_a_chequerboard_know_their_neighbours():
    network, x = read(CHEQUERBOARD), made.photo()
    _, z, symbols, _ = coded(network, x)
    first = network.predict(z, LEVEL)
    even = (torch.arange(8)[:, None] + torch.arange(12)).remainder(2) == 0
    assert first.index[..., even].any()
    changed = symbols.clone()
    changed[0, :, 2, 2] += 20
    told, other = (network.refine(first, known, 1) for known in (symbols, changed))
    differs = (told.mean != other.mean).any(1)[0]
    assert not differs[even].any()  # what is known is not predicted again
    assert differs[2, 3]
    assert not differs[6:].any()  # 5x5
    changed[0, :, 2, 3] += 20  # not yet known
    assert torch.equal(network.refine(first, changed, 1).mean, other.mean)


@pytest.mark.parametrize("name", ELIC)
def test_the_latents_of_elic_know_the_groups_before(name):
    network, x = read(name), made.photo()
    _, z, symbols, _ = coded(network, x)
    assert network.steps == 2 * len(made.GROUPS)
    told = [network.predict(z, LEVEL)]
    for step in range(1, network.steps):
        told.append(network.refine(told[-1], symbols, step))
    even = (torch.arange(8)[:, None] + torch.arange(12)).remainder(2) == 0
    starts = [sum(made.GROUPS[:group]) for group in range(len(made.GROUPS) + 1)]
    for group in range(1, len(made.GROUPS)):
        for changed in range(len(made.GROUPS)):
            other = symbols.clone()
            other[:, starts[changed], 3, 4] += 30  # where the second step of a group has it
            before, step = told[2 * group - 1], 2 * group
            found, expected = (network.refine(before, known, step) for known in (other, symbols))
            differs = (found.mean != expected.mean).any(0)
            assert not differs[:, ~even].any()
            assert not differs[: starts[group]].any()
            assert not differs[starts[group + 1] :].any()
            is_seen = changed < group if name == OFFICIAL else changed in (0, group - 1)
            assert differs.any() == is_seen


@pytest.mark.parametrize("name", NAMES)
def test_large_pictures_are_transformed_in_strips(name, monkeypatch):
    network, x = read(name), made.photo(640, 64)
    y, _, symbols, told = coded(network, x)
    y_hat = network.restore(symbols, told, LEVEL).float()
    with torch.no_grad():
        x_hat = network.synthesise(y_hat, FULL)
        monkeypatch.setattr(strips, "STRIP_CELLS", 40)
        torch.testing.assert_close(network.analyse(x, network.quality(LEVEL))[0], y, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(network.synthesise(y_hat, FULL), x_hat, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_folders_tensors_that_do_not_fit_are_refused(name):
    converted = made.converted(name)
    with pytest.raises(ValueError, match="no architecture"):
        architectures.read("elsewhere:codec", converted.network, dict(converted.tensors))
    for key in ("g_a.0.weight" if name != CHEQUERBOARD else "g_a.6.weight", "h_s.0.shift", "of_tables", "finest"):
        if key in converted.tensors:
            less = {other: value for other, value in converted.tensors.items() if other != key}
            with pytest.raises((KeyError, RuntimeError)):
                architectures.read(SOURCE + name, converted.network, less)
    with pytest.raises((ValueError, RuntimeError)):
        architectures.read(SOURCE + name, converted.network | {"latents": 5}, dict(converted.tensors))
    with pytest.raises(ValueError, match="out of range"):
        architectures.read(SOURCE + name, converted.network | {"quality": 3.0}, dict(converted.tensors))


def test_a_factorised_table_has_a_scale_that_fits_it():
    tensors = made.converted(FACTORIZED).tensors
    tables = TableSet.from_arrays({key: value.numpy() for key, value in tensors.items()}, "tables.y")
    assert len(tables) == made.LATENTS
    for table, index in enumerate(tensors["of_tables"].tolist()):
        values = tables.offsets[table] + torch.arange(int(tables.sizes[table]))
        share = torch.tensor(tables.row(table)).diff()[:-1] / 2**24
        assert 0.8 < float((share * values**2).sum().sqrt()) / SCALES[index] < 1.25


@needs.COMPRESSAI
@pytest.mark.parametrize("name", [name for name in NAMES if name not in VARIABLE])
def test_pictures_are_those_of_compressai_with_the_same_weights(name):
    network, theirs, x = read(name), made.original(name), made.photo()
    y, _, symbols, told = coded(network, x)
    y_hat = network.restore(symbols, told, LEVEL).float()
    with torch.no_grad():
        torch.testing.assert_close(y, theirs.g_a(x), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(network.synthesise(y_hat, FULL), theirs.g_s(y_hat), atol=1e-5, rtol=1e-4)
        scales, means = parameters(name, theirs, y)
    of_tables = torch.tensor(SCALES)[network.spread(told.index)]
    distance = (told.mean / 2**MEAN_BITS - means).abs()
    assert distance.median() < 0.05
    assert distance.max() < 0.05 * means.abs().max().clamp_min(1) + 0.05
    if name != FACTORIZED:
        assert (of_tables / scales.clamp(0.11, 128)).log().abs().median() < 0.08


def parameters(name, theirs, y):
    """What CompressAI predicts of its own y: scales and means."""
    if name == FACTORIZED:
        return None, theirs.entropy_bottleneck._get_medians().view(1, -1, 1, 1).expand_as(y)
    if name in GROUPED:
        codec, seen = theirs.latent_codec["y"], []
        parts = [codec] if name == CHEQUERBOARD else list(codec.latent_codec.values())
        for part in parts:
            gaussian = part.latent_codec["y"]

            def remember(y, params, gaussian=gaussian):
                seen.append(gaussian._chunk(params))
                return {"likelihoods": {"y": y}, "y_hat": torch.round(y - seen[-1][1]) + seen[-1][1]}

            gaussian.forward = remember
        codec(y, theirs.latent_codec["hyper"](y)["params"])
        return [torch.cat(of_groups, dim=1) for of_groups in zip(*seen, strict=True)]
    z_hat, _ = theirs.entropy_bottleneck(theirs.h_a(y.abs() if name == SCALE else y))
    told = theirs.h_s(z_hat)
    return (told, torch.zeros_like(told)) if name == SCALE else told.chunk(2, 1)


@needs.COMPRESSAI
@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_that_compressai_saves_are_read(name, tmp_path):
    theirs = made.original(name)
    path = made.save_state({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}})
    state = checkpoint.read_checkpoint(path, name)
    again = convert(name, state, [made.photo()])
    assert again.network == made.converted(name).network
    assert all(torch.equal(value, made.converted(name).tensors[key]) for key, value in again.tensors.items())


def test_integer_weights_count_as_parameters():
    w, m = made.WIDTH, made.LATENTS
    layers = 36 * (w + 1) * m, 36 * m * (m * 3 // 2), 9 * (m * 3 // 2) * 2 * m  # two grown ones, ones beside z
    of_h_s = [p for name, p in read(MEAN).named_parameters() if name.startswith("h_s.") and p.ndim == 4]
    assert [p.numel() for p in of_h_s] == list(layers)
    assert not any(p.requires_grad for p in of_h_s)
