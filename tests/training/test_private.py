"""Which latents are sealed, by hand, and that moving them changes nothing."""

import pytest
import torch

from psic_cli.networks.network import PsicNetwork
from psic_cli.training.data import to_tensor
from psic_cli.training.loop import Run
from psic_cli.training.private import choose_private, make_private, reorder_latents
from tests import needs
from tests.training.conftest import SMALL, smooth_picture

# Cost per bit: 1.0, 0.1, 1.5, 0.05, and a channel that is hardly ever coded.
BITS = torch.tensor([10.0, 40.0, 30.0, 20.0, 0.001])
COST = torch.tensor([10.0, 4.0, 45.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, []), (0.01, [3]), (0.15, [3]), (0.25, [3, 1]), (0.55, [3, 1]), (0.65, [3, 1, 0]), (0.75, [3, 1, 0, 2])],
)
def test_the_cheapest_channels_per_bit_are_sealed_until_they_hold_the_share(share, expected):
    assert choose_private(BITS, COST, share).tolist() == expected


def test_a_channel_that_is_hardly_ever_coded_stays_public():
    assert 4 not in choose_private(BITS, COST, 1.0).tolist()


def test_a_channel_whose_place_is_fixed_stays_public():
    cost = torch.tensor([torch.inf, 4.0, 45.0, 1.0, 0.0])
    assert choose_private(BITS, cost, 1.0).tolist() == [3, 1, 2]


def network() -> PsicNetwork:
    torch.manual_seed(5)
    made = PsicNetwork(SMALL).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return made


def results(made: PsicNetwork, x: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Latents, z, means, indexes, symbols and the picture."""
    y, z = made.analyse(x, made.config.quality(level))
    prediction = made.predict(z.round(), level)
    mean, index = prediction.mean, prediction.index
    symbols = made.quantise(y, mean, level)
    return (
        y,
        z,
        mean,
        index,
        symbols,
        made.synthesise(made.restore(symbols, mean, level), torch.tensor([[1.0, 0.0, 0.5, 0.5]])),
    )


@torch.no_grad()
def test_a_new_order_of_latents_changes_nothing_but_the_order():
    made, level = network(), torch.tensor([20])
    x = to_tensor(smooth_picture(3, 128, 64))[None]
    y, z, mean, index, symbols, x_hat = results(made, x, level)
    details = SMALL.details  # stay in front
    order = torch.cat([torch.arange(details), details + torch.randperm(SMALL.latents - details)])
    assert not torch.equal(order, torch.arange(SMALL.latents))
    reorder_latents(made, order)
    y_new, z_new, mean_new, index_new, symbols_new, x_hat_new = results(made, x, level)
    torch.testing.assert_close(y_new, y[:, order], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(z_new, z, rtol=1e-5, atol=1e-4)
    assert torch.equal(mean_new, mean[:, order])
    assert torch.equal(index_new, index[:, order])
    assert (symbols_new != symbols[:, order]).float().mean() < 0.001
    torch.testing.assert_close(x_hat_new, x_hat, rtol=1e-4, atol=1e-3)


@needs.COMPRESSAI
def test_sealing_moves_the_share_asked_for_behind_the_public_latents(config, tmp_path):
    made = network()
    run = Run(config, tmp_path, "cpu")
    run.network = made
    x, level = to_tensor(smooth_picture(3, 64, 64))[None], torch.tensor([31])
    with torch.no_grad():
        before = results(made, x, level)[-1]
        share = make_private(run, 0.2)
        after = results(made, x, level)[-1]
    private = made.config.private
    assert 0.2 <= share < 0.6
    assert 1 <= private < SMALL.latents
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-3)
