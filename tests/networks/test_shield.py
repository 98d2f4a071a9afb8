"""What protects a picture beyond its synthesis: shields of large pictures, and the guide's steps."""

import dataclasses

import pytest
import torch
from torch import Tensor

from psic_cli.networks.cltg import Condition
from psic_cli.networks.network import PsicNetwork
from psic_cli.networks.thumbnails import THUMBNAIL, enlarged, thumbnail
from tests.networks.guides import untrained_guide
from tests.networks.test_network import SMALL, loaded, network


def with_loud_conditions() -> PsicNetwork:
    made = network(dataclasses.replace(SMALL, largest_side=2000)).eval()
    with torch.no_grad():
        for head in made.steered().cltg.heads.parameters():
            head.normal_(0, 0.3)
    return made


def decodes(side: int) -> dict[str, Tensor]:
    """A picture of the network with random latents in several versions, each [1, 3, side, side]."""
    made = with_loud_conditions()
    cells = -(-side // 64) * 4
    y_hat = torch.randn(1, SMALL.latents + SMALL.private, cells, cells)
    asked = {"full": (0.0, 0.0), "protected": (1.0, 0.0), "half": (0.5, 0.0), "machine": (0.0, 1.0)}
    with torch.no_grad():
        return {
            name: made.picture(y_hat, Condition(strength, machine, side, quality=0.5).tensor(2000), side, side)
            for name, (strength, machine) in asked.items()
        }


def coarse_share(x: Tensor) -> float:
    """How much of a difference [1, 3, H, W] survives that a model looks at the picture shrunk: 0..1."""
    back = enlarged(thumbnail(x + 0.5) - 0.5, *x.shape[-2:])
    return float(1 - (x - back).square().mean() / x.square().mean())


def test_what_protects_a_large_picture_survives_shrinking():
    small, large = decodes(THUMBNAIL), decodes(3 * THUMBNAIL)
    shields = [found["protected"] - found["full"] for found in (small, large)]
    assert all(shield.abs().max() > 0.01 for shield in shields)
    assert coarse_share(shields[1]) > 0.9
    fine = enlarged(shields[0], 3 * THUMBNAIL, 3 * THUMBNAIL)  # as fine as a synthesis draws
    assert coarse_share(fine) > 0.9 > coarse_share(large["machine"] - large["full"])


@pytest.mark.parametrize("side", [64, 2 * THUMBNAIL])
def test_a_weaker_shield_is_a_share_of_the_whole_one(side):
    found = decodes(side)
    whole = found["protected"] - found["full"]
    assert whole.abs().max() > 0.01
    torch.testing.assert_close(found["half"] - found["full"], 0.5**0.75 * whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(321, 400), (400, 321), (330, 1500), (321, 321)])
def test_large_pictures_of_any_shape_get_their_shield(height, width):
    made = with_loud_conditions()
    y_hat = torch.randn(1, SMALL.latents + SMALL.private, -(-height // 64) * 4, -(-width // 64) * 4)
    condition = Condition(1.0, 0.0, min(height, width), quality=0.5).tensor(224)
    with torch.no_grad():
        x_hat, drawn = (
            made.picture(y_hat, condition, height, width),
            made.draw_shield(torch.rand(1, 3, height, width), condition),
        )
        assert x_hat.shape == (1, 3, height, width)
        assert min(drawn.shape[-2:]) == THUMBNAIL
        assert (x_hat - made.picture(y_hat, condition * 0, height, width)).abs().max() > 0.01


def test_the_shield_of_a_large_picture_does_not_magnify_rounding():
    """Two machines differ in the last bits of a picture: they must not differ in what is drawn on its thumbnail."""
    made = with_loud_conditions()
    x = torch.rand(1, 3, 400, 400)
    condition = Condition(1.0, 0.0, 400, quality=0.0).tensor(400)
    with torch.no_grad():
        one, other = (made.draw_shield(x + 1e-5 * offset, condition) for offset in (0.0, torch.randn_like(x)))
    assert (one - other).abs().max() < 0.1 / 255


# The guide


def guided_network() -> PsicNetwork:
    made = with_loud_conditions()
    made.give_guide(untrained_guide())
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize(("height", "width"), [(THUMBNAIL, 400), (70, 90), (360, 330)])
def test_a_guide_changes_the_protected_version_alone(height, width):
    made = guided_network()
    y_hat = torch.randn(1, SMALL.latents + SMALL.private, -(-height // 64) * 4, -(-width // 64) * 4)
    for strength, machine, changes in ((1.0, 0.0, True), (0.3, 0.0, True), (0.0, 0.0, False), (0.0, 1.0, False)):
        condition = Condition(strength, machine, min(height, width), quality=0.5).tensor(2000)
        guided = made.picture(y_hat, condition, height, width)
        guide, made.guide = made.guide, None
        without = made.picture(y_hat, condition, height, width)
        made.guide = guide
        assert guided.shape == without.shape == (1, 3, height, width)
        assert bool((guided - without).abs().max() > 0.1 / 255) is changes


def test_a_guide_is_stored_and_forgotten_with_the_conditions():
    made = guided_network()
    again = loaded(made)
    assert again.guide is not None
    y_hat = torch.randn(1, SMALL.latents + SMALL.private, 4, 4)
    condition = Condition(1.0, 0.0, 64, quality=0.5).tensor(224)
    torch.testing.assert_close(
        again.picture(y_hat, condition, 64, 64), made.picture(y_hat, condition, 64, 64), atol=0.02, rtol=0
    )  # stored in float16
    made.forget_conditions()
    assert made.guide is None
    assert loaded(made).guide is None
