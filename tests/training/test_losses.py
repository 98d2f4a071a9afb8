"""Losses by hand."""

import pytest
import torch

from psic_cli.training.losses import added_distortion, decibels, grid, recognition, shown

# Distortion


def test_decibels_by_hand():
    torch.testing.assert_close(
        decibels(torch.tensor([1.0, 0.01, 1e-4])), torch.tensor([0.0, -20.0, -40.0]), atol=0.01, rtol=0
    )
    assert decibels(torch.tensor(0.0)).isfinite()


def test_what_a_version_adds_to_the_distortion_by_hand():
    x = torch.full((2, 3, 32, 32), 0.5)
    added = added_distortion(x + torch.tensor([0.02, 0.04]).view(2, 1, 1, 1), x - 0.02, x)
    torch.testing.assert_close(added, torch.tensor([0.0, 1.0]), atol=0.01, rtol=0)
    assert added_distortion(x, x, x).isfinite().all()


def test_a_pattern_in_a_clear_sky_adds_more_than_one_in_texture():
    noise = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    x = 0.5 + torch.cat([0 * noise[..., :32], 0.1 * noise[..., 32:]], dim=3)  # sky to the left, texture to the right
    sky = (torch.arange(64) < 32).float()
    full = x + 0.01
    costs = [added_distortion(full + 0.02 * where, full, x).item() for where in (sky, 1 - sky)]
    assert costs[0] > 2 * costs[1]


def test_only_what_repeats_in_every_cell_is_a_grid():
    pattern = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pattern -= pattern.mean((2, 3), keepdim=True)
    repeated = pattern.tile(1, 1, 4, 3)
    expected, seen = pattern.square().mean((1, 2, 3)), torch.ones(1, 1, 64, 48)
    torch.testing.assert_close(grid(repeated, seen), expected, rtol=1e-4, atol=0)
    wider = torch.nn.functional.pad(repeated + 0.3, (0, 9, 0, 5))  # an even shade, and less than a cell at the edges
    torch.testing.assert_close(grid(wider, torch.ones(1, 1, 69, 57)), expected, rtol=1e-4, atol=0)
    alternating = torch.cat([pattern, -pattern], dim=3).tile(1, 1, 3, 2)
    assert float(grid(alternating, torch.ones(1, 1, 48, 64))) < 1e-9


def test_a_grid_may_change_its_sign_from_here_to_there():
    pattern = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).tile(1, 1, 6, 6)
    seen = torch.ones(1, 1, 96, 192)
    same, changing = (float(grid(torch.cat([pattern, sign * pattern], dim=3), seen)) for sign in (1, -1))
    assert changing > same / 3  # nothing is left of it in the mean over all cells


def test_a_grid_counts_only_where_it_is_seen():
    pattern = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).tile(1, 1, 2, 2)
    sky = torch.zeros(1, 1, 32, 32)
    sky[..., :16] = 1
    everywhere = float(grid(pattern, torch.ones_like(sky)))
    assert float(grid(pattern * sky, sky)) == pytest.approx(0.5 * everywhere, rel=1e-3)
    assert float(grid(pattern * (1 - sky), sky)) < 1e-9


def test_a_grid_counts_for_more_than_noise_of_the_same_strength():
    x = torch.full((1, 3, 64, 64), 0.5)
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    repeated = noise[..., :16, :16].tile(1, 1, 4, 4)
    grid_like, noisy = (float(added_distortion(x + 0.01 * added, x, x)) for added in (repeated, noise))
    assert grid_like > 1.5 * noisy


def test_a_grid_counts_where_it_hides_one_of_the_full_version_too():
    x = torch.full((1, 3, 64, 64), 0.5)
    pattern = 0.01 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).tile(1, 1, 4, 4)
    hidden, noisy = x, x + pattern + 0.01 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    costs = [added_distortion(version, x + pattern, x).item() for version in (hidden, noisy)]
    assert costs[0] > costs[1]


def test_versions_part_from_the_full_one_without_a_wall():
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    full = x + 0.02
    difference = torch.zeros_like(x).requires_grad_()
    added_distortion(full + difference, full, x).sum().backward()
    assert difference.grad is not None
    step = 1e-3 * torch.ones_like(x)
    change = added_distortion(full + step, full, x) - added_distortion(full, full, x)
    assert change.item() == pytest.approx((difference.grad * step).sum().item(), rel=0.1)


# What a model gets to see


def test_a_model_sees_8_bits_between_black_and_white():
    x_hat = torch.tensor([-0.3, 0.0, 0.1, 0.5, 1.0, 1.7])
    assert torch.equal(shown(x_hat), torch.tensor([0, 0, 26, 128, 255, 255]) / 255)


def test_gradients_pass_through_rounding_and_clamping():
    x_hat = torch.tensor([-0.3, 0.1, 0.5, 1.7], requires_grad=True)
    (shown(x_hat) * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x_hat.grad is not None
    assert x_hat.grad.tolist() == [1.0, 2.0, 3.0, 4.0]


# What it recognises


class Channels:
    """A "model" that sees the mean of each channel from `first` on, as a direction."""

    name = "channels"
    logit_scale = 1.0

    def __init__(self, first: int) -> None:
        self.first = first

    def encode_image(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(pictures.mean((2, 3))[:, self.first :], dim=1)

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        raise AssertionError("recognition looks at pictures alone")


def test_recognition_is_the_mean_cosine_of_the_models():
    red_and_blue = torch.tensor([1.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, 4, 4)
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(1, 3, 4, 4)
    blue = red.flip(1)
    models = [Channels(0), Channels(2)]
    originals = [model.encode_image(red_and_blue) for model in models]
    assert recognition(models, red_and_blue, originals).tolist() == pytest.approx([1.0])
    assert recognition(models, red, originals).tolist() == pytest.approx([(0.5**0.5 + 0.0) / 2])
    assert recognition(models, blue, originals).tolist() == pytest.approx([(0.5**0.5 + 1.0) / 2])


def test_cosines_are_finer_than_bfloat16():
    class Rounded(Channels):
        def encode_image(self, pictures: torch.Tensor) -> torch.Tensor:
            return super().encode_image(pictures).bfloat16()

    pictures = torch.tensor([0.31, 0.62, 0.93])[None, :, None, None].expand(1, 3, 2, 2)
    found = recognition([Rounded(0)], pictures, [Rounded(0).encode_image(pictures)])
    assert found.dtype == torch.float32
    assert float(found * 2**8) % 1 != 0
