"""How well people see a change."""

import pytest
import torch

from psic_cli.search.masking import visible


def test_change_counts_where_people_see_it():
    generator = torch.Generator().manual_seed(0)
    flat = torch.full((1, 3, 64, 80), 0.5)
    noise = torch.randn(1, 1, 64, 80, generator=generator).expand(1, 3, 64, 80)
    seen = visible(flat)
    inner = seen[..., 16:-16, 16:-16]
    torch.testing.assert_close(inner, torch.ones(1, 1, 32, 48))
    assert float(seen.sum() - inner.sum()) == 3 * (64 * 80 - 32 * 48)  # a pattern along an edge draws a frame
    # A quarter where the mean root of the detail is that of 2 levels
    noises = (flat + deviation / 255 * noise for deviation in (3.2, 32))
    weak, strong = (float(visible(noisy)[..., 16:-16, 16:-16].mean()) for noisy in noises)
    assert weak == pytest.approx(0.25, rel=0.1)
    assert strong == pytest.approx(1 / 101**2, rel=0.4)


def test_contours_and_gradients_hide_less_than_texture_of_the_same_contrast():
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    contour = (ramp > 0.5).float()
    texture = (torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) > 0).float().expand(1, 3, 64, 64)
    on_ramp, calm, busy = (visible(x)[..., 16:-16, 24:40].mean().item() for x in (ramp, 0.5 * contour, 0.5 * texture))
    assert on_ramp == pytest.approx(1, abs=0.01)
    assert calm > 100 * busy
