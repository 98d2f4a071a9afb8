"""Variable-rate networks: one model for all qualities, and what a level decides in whole numbers."""

from typing import Any

import pytest
import torch

from psic_cli.backbones import architectures
from psic_cli.backbones.architectures import MEAN_VBR, SCALE_VBR, SOURCE, VARIABLE
from psic_cli.backbones.convert import convert
from psic_cli.bitstream.tables import TableSet
from psic_cli.networks import strips
from psic_cli.networks.backbone import MEAN_BITS, clamp_z
from tests import needs
from tests.backbones import made

LEVELS = (0, 31, 63)
FULL = torch.zeros(1, 4)


def read(name, **changed):
    converted = made.converted(name)
    return architectures.read(SOURCE + name, converted.network, dict(converted.tensors) | changed)


@torch.no_grad()
def coded(network, x, number):
    level = torch.tensor([number])
    y, z = network.analyse(x, network.quality(level))
    return level, y, clamp_z(z), *network.code(network.scale(y, level), clamp_z(z), level)


@pytest.mark.parametrize("name", VARIABLE)
def test_qualities_rise_evenly_through_all_levels(name):
    network = read(name)
    levels = torch.arange(64)
    assert network.levels == 64
    assert network.gain[0] == 51
    assert network.gain[-1] == 512
    assert torch.equal(network._level_of(network.quality(levels)), levels)
    assert [network.level(quality, 500) for quality in (1, 50, 100)] == [0, 31, 63]
    assert network.level(50, 64) == network.level(50, 4000)
    # Twice the gain is worth four times the distortion.
    assert network.sizes.span == pytest.approx(
        2 * torch.tensor(512 / 51).log().item() / torch.tensor(100.0).log().item()
    )


@pytest.mark.parametrize("name", VARIABLE)
def test_steps_become_finer_with_the_level(name):
    network, x = read(name), made.photo()
    errors, spreads = [], []
    for number in LEVELS:
        level, y, _, symbols, told = coded(network, x, number)
        y_hat = network.unscale(symbols + told.mean / 2**MEAN_BITS, level)
        assert (y_hat - y).abs().max() * network.gain[number] / 512 < 0.501
        torch.testing.assert_close(network.unscale(network.scale(y, level), level), y)
        errors.append((y_hat - y).square().mean())
        spreads.append(symbols.abs().mean())
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert spreads[0] < spreads[1] < spreads[2]


@pytest.mark.parametrize("name", VARIABLE)
def test_means_and_indexes_are_those_of_the_definition_in_64_bit_integers(name):
    network, x = read(name), made.photo()
    z_symbols = torch.randint(-127, 128, (1, made.WIDTH, 2, 3), generator=torch.Generator().manual_seed(3))
    latents = network.sizes.latents
    for z in (z_symbols, coded(network, x, 63)[2].long()):
        for number in LEVELS:
            step = int(network.z_steps[number * len(network.z_steps) // 64])
            most = min(511, 127 * int(network.z_steps.max()))
            known = torch.cat([(z * step).clamp(-most, most), torch.ones_like(z[:, :1])], dim=1)
            outputs, gain = network.h_s(known.double()).long(), int(network.gain[number])
            index = (network.thresholds.long()[:, None, None, None, None] * 512 <= outputs[:, :latents] * gain).sum(0)
            mean = (outputs[:, latents:].clamp(-32767, 32767) * gain + 256) >> 9
            for dtype in (torch.float64, torch.float32):
                network.use_integers(dtype)
                told = network.predict(z.to(dtype), torch.tensor([number]))
                assert torch.equal(told.index.long(), index)
                assert torch.equal(told.mean.long(), mean if name == MEAN_VBR else torch.zeros_like(index))
            network.use_integers(torch.float64)


def test_pictures_of_several_levels_are_predicted_and_restored_together():
    network, x = read(MEAN_VBR), made.photo()
    alone = [coded(network, x, number) for number in LEVELS]
    level, z, symbols = (torch.cat([of_one[part] for of_one in alone]) for part in (0, 2, 3))
    told = network.predict(z, level)
    restored = network.restore(symbols, told, level)
    for number, (own_level, _, _, own_symbols, own) in enumerate(alone):
        assert torch.equal(told.mean[number : number + 1], own.mean)
        assert torch.equal(told.index[number : number + 1], own.index)
        torch.testing.assert_close(restored[number : number + 1], network.restore(own_symbols, own, own_level))


def test_symbols_that_are_not_zero_are_moved_by_the_offset_of_their_level_and_table(monkeypatch):
    offsets = torch.arange(64)[:, None] / 1000 + torch.arange(64) / 100
    network, x = read(MEAN_VBR, offsets=offsets), made.photo()
    for number in (0, 63):
        level, _, _, symbols, told = coded(network, x, number)
        assert (symbols == 0).any()
        assert (symbols < 0).any()
        moved = symbols + symbols.sign() * offsets[number][told.index.long()]
        expected = network.unscale(moved + told.mean / 2**MEAN_BITS, level)
        torch.testing.assert_close(network.restore(symbols.int(), told, level), expected.float(), rtol=1e-5, atol=1e-4)
        monkeypatch.setattr(strips, "STRIP_CELLS", 24)
        torch.testing.assert_close(network.restore(symbols, told, level), expected.float(), rtol=1e-5, atol=1e-4)


def test_z_has_tables_for_each_of_its_steps():
    network, tensors = read(MEAN_VBR), made.converted(MEAN_VBR).tensors
    tables = TableSet.from_arrays({key: value.numpy() for key, value in tensors.items()}, "tables.z")
    assert len(network.z_steps) == 8
    assert len(network.z_steps.unique()) > 3
    assert len(tables) == 8 * made.WIDTH
    assert network.z_tables(torch.tensor([0, 63])).tolist() == [list(range(8)), list(range(56, 64))]
    coarse, fine = (int(tables.sizes[network.z_tables(torch.tensor([level]))[0]].sum()) for level in (0, 63))
    assert network.z_steps[0] > network.z_steps[-1]
    assert coarse < fine
    assert read(SCALE_VBR).z_steps.tolist() == [1]


class Same(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, asked):
        return self.answer


@needs.COMPRESSAI
@pytest.mark.parametrize("name", VARIABLE)
@torch.no_grad()
def test_pictures_are_those_of_compressai_at_the_same_gains(name):
    network, theirs, x = read(name), made.original(name), made.photo()
    for number in LEVELS:
        level, y, z, symbols, told = coded(network, x, number)
        gain = network.gain[number] / 512
        step = network._z_step(level).flatten() / (8 if name == MEAN_VBR else 1)
        if name == MEAN_VBR:
            asked = made.original(name).gayn2zqstep(1 / gain.view(1)).clamp_min(0.5)
            assert (step / asked).log().abs() < 0.15
            theirs.gayn2zqstep = Same(step)
        torch.testing.assert_close(y, theirs.g_a(x), atol=1e-3, rtol=1e-4)
        z_hat = z * step + theirs.entropy_bottleneck._get_medians().view(1, -1, 1, 1)
        parameters = theirs.h_s(z_hat.float())
        scales, means = parameters.chunk(2, 1) if name == MEAN_VBR else (parameters, torch.zeros_like(parameters))
        assert (told.mean / 2**MEAN_BITS - means * gain).abs().max() < 0.05 * means.abs().max().clamp_min(1) + 0.05
        q_stdev = (scales * gain).clamp_min(0.11)
        inputs = torch.stack([q_stdev, gain.expand_as(q_stdev)], dim=4)
        offsets = torch.where(symbols == 0, 0.0, -theirs.QuantABCD(inputs)[..., 0])
        y_hat = (symbols.sign() * (symbols.abs() + offsets)) / gain + means
        ours = network.restore(symbols, told, level)
        assert ((ours - y_hat) * gain).abs().median() < 0.05
        decoded = theirs.forward(x, stage=2, inputscale=gain)["x_hat"]
        # A latent half way between two symbols may become the other one, which is as near.
        unrounded = theirs.g_s(y)
        errors = [(x_hat - unrounded).square().mean().log() for x_hat in (network.synthesise(ours, FULL), decoded)]
        assert (errors[0] - errors[1]).abs() < 0.05


WRONG: dict[str, tuple[dict[str, Any], str | None]] = {
    "gains that fall": ({"Gain": torch.linspace(1, 0.1, 8)}, "gains do not rise"),
    "one gain": ({"Gain": torch.ones(1)}, "gains do not rise"),
    "gains beyond 1": ({"Gain": torch.linspace(0.1, 3, 8)}, "gains do not rise"),
    "gains that are no row": ({"Gain": torch.ones(8, 2)}, "gains do not rise"),
    "no offsets": ({"QuantABCD.2.weight": None}, "QuantABCD.2.weight"),
    "huge steps of z": ({"gayn2zqstep.4.bias": torch.full((1,), 1e3)}, "steps of z can reach"),
    "a shape that does not fit": ({"gayn2zqstep.2.weight": torch.zeros(10, 3)}, None),
}


@pytest.mark.parametrize("what", WRONG)
def test_levels_that_do_not_fit_are_refused(what):
    changed, message = WRONG[what]
    state = {key: value for key, value in (made.state_of(MEAN_VBR) | changed).items() if value is not None}
    with pytest.raises((KeyError, ValueError, RuntimeError), match=message):
        convert(MEAN_VBR, state, [made.photo(64, 64)])


@pytest.mark.parametrize(
    "changed",
    [
        {"gain": torch.arange(64, 0, -1)},
        {"gain": torch.full((64,), 513)},
        {"gain": torch.arange(1, 33)},
        {"z_steps": torch.zeros(8)},
        {"z_steps": torch.full((8,), 256)},
        {"z_steps": torch.ones(65)},
        {"offsets": torch.full((64, 64), float("nan"))},
        {"offsets": torch.zeros(64, 3)},
    ],
)
def test_a_folders_levels_that_do_not_fit_are_refused(changed):
    with pytest.raises(ValueError, match=r"gains|step|offsets|exact"):
        read(MEAN_VBR, **changed)


def test_levels_of_one_quality_are_refused():
    converted = made.converted(MEAN_VBR)
    with pytest.raises(ValueError, match="all levels have one quality"):
        architectures.read(SOURCE + MEAN_VBR, converted.network | {"span": 0.0}, dict(converted.tensors))


def test_the_checkpoint_is_left_as_it_was():
    state = made.state_of(MEAN_VBR)
    before = {key: value.clone() for key, value in state.items()}
    convert(MEAN_VBR, state, [made.photo(64, 64)])
    assert all(torch.equal(value, before[key]) for key, value in state.items())
