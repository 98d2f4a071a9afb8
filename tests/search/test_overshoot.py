"""Line art: latents move until the picture is right when it is clamped. Photographs keep theirs."""

import torch
from torch import Tensor
from torch.nn import functional as F

from psic_cli import zoo
from psic_cli.networks import strips
from psic_cli.networks.cltg import Condition
from psic_cli.networks.network import PsicNetwork
from psic_cli.search import overshoot
from psic_cli.training.data import read_rgb, to_tensor
from tests.cli.run import ROOT

SIDE = 64  # pixels


def strokes() -> Tensor:
    """Thin black strokes in every direction on white: [1, 3, 64, 64]."""
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    black = (row % 16 == 5) | (column % 16 == 3) | ((row + column) % 16 == 0)
    return (~black).float().expand(1, 3, SIDE, SIDE).contiguous()


def photo() -> Tensor:
    """A part of a photograph: [1, 3, 64, 64]."""
    return to_tensor(read_rgb(ROOT / "sample_images" / "coffee.png")[120 : 120 + SIDE, 200 : 200 + SIDE])[None]


def shipped() -> PsicNetwork:
    network = zoo.load(zoo.DEFAULT_MODEL, precision="float32").network
    assert isinstance(network, PsicNetwork)
    return network


def error(network: PsicNetwork, y: Tensor, x: Tensor, level: Tensor) -> float:
    """Mean square, of the clamped full version that unrounded latents give."""
    y_hat = network.scale(y, level) * network.scaling.inverse_gain(level)
    condition = Condition(0.0, 0.0, SIDE, network.config.quality(level).item()).tensor(network.config.largest_side)
    return F.mse_loss(network.synthesise(y_hat, condition).clamp(0, 1), x).item()


@torch.inference_mode()
def test_line_art_becomes_a_tenth_as_wrong_before_rounding():
    network, x, level = shipped(), strokes(), torch.tensor([63])
    plain, _ = network.analyse(x, network.config.quality(level))
    moved, analysed, z = overshoot.analyse(network, x, level)
    assert torch.equal(analysed, plain)
    assert error(network, moved, x, level) < 0.1 * error(network, plain, x, level)
    assert torch.equal(z, network.h_a(moved, network.config.quality(level)))


@torch.inference_mode()
def test_a_photograph_keeps_the_latents_of_the_analysis():
    network, x, level = shipped(), photo(), torch.tensor([32])
    moved, analysed, z = overshoot.analyse(network, x, level)
    assert moved is analysed
    for found, expected in zip((moved, z), network.analyse(x, network.config.quality(level)), strict=True):
        assert torch.equal(found, expected)


@torch.inference_mode()
def test_on_paper_that_is_not_white_it_becomes_less_wrong_too():
    network, x, level = shipped(), 0.1 + 0.8 * strokes(), torch.tensor([63])
    plain, _ = network.analyse(x, network.config.quality(level))
    moved, *_ = overshoot.analyse(network, x, level)
    assert error(network, moved, x, level) < 0.6 * error(network, plain, x, level)


def test_line_art_has_paper_and_ink_of_any_colours_and_little_else():
    assert overshoot.line_art(strokes()) is not None
    assert overshoot.line_art(0.1 + 0.8 * strokes()) is not None
    assert overshoot.line_art(1 - strokes() * torch.tensor([0.1, 0.4, 0.9])[:, None, None]) is not None
    noise = 0.02 * torch.rand(strokes().shape, generator=torch.Generator().manual_seed(0))
    assert overshoot.line_art(0.1 + 0.8 * strokes() + noise) is None
    assert overshoot.line_art(torch.ones(1, 3, SIDE, SIDE)) is None
    assert overshoot.line_art(photo()) is None


def test_line_art_is_found_in_strips(monkeypatch):
    page = torch.cat([strokes(), photo(), strokes(), strokes()], dim=2)
    whole = overshoot.line_art(page)
    assert whole is not None
    monkeypatch.setattr(strips, "STRIP_CELLS", 1)
    found = overshoot.line_art(page)
    assert found is not None
    assert torch.equal(found, whole)


def test_a_photograph_on_a_white_page_is_no_line_art():
    page = torch.ones(1, 3, SIDE, 3 * SIDE)
    page[..., SIDE : 2 * SIDE] = photo()
    assert overshoot.line_art(page) is None
    page[..., :SIDE] = strokes()
    cells = overshoot.line_art(page[..., : SIDE + 16])
    assert cells is not None
    assert cells[..., :4].all()


@torch.inference_mode()
def test_an_analysis_that_steps_make_worse_keeps_its_latents(monkeypatch):
    network, x, level = shipped(), strokes(), torch.tensor([63])
    monkeypatch.setattr(overshoot, "MOMENTUM", -20.0)
    plain, _ = network.analyse(x, network.config.quality(level))
    moved, *_ = overshoot.analyse(network, x, level)
    assert error(network, moved, x, level) <= error(network, plain, x, level)
