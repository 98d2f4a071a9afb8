"""What happens to pictures on their way to a model."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli.training.data import to_tensor
from psic_cli.training.diversity import Journey, JpegLike, blur, cosine_transform
from tests.training.conftest import smooth_picture


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 37)])
def test_it_looks_like_a_real_jpeg(quality, height, width):
    rgb = smooth_picture(3, height, width)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        real = to_tensor(np.array(image))
    found = JpegLike()(to_tensor(rgb)[None], quality)[0]
    assert found.shape == (3, height, width)
    assert (found - real).abs().mean() < 2 / 255
    assert (found - real).abs().mean() < 0.5 * (real - to_tensor(rgb)).abs().mean()


def test_the_cosine_transform_is_orthonormal():
    dct = cosine_transform()
    torch.testing.assert_close(dct @ dct.T, torch.eye(8))
    torch.testing.assert_close(dct[0], torch.full((8,), 8**-0.5))


def test_gradients_pass_through_the_quantisation():
    """Rounding has none of its own; with a straight-through one a grey picture's sum moves one for one."""
    x = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    JpegLike()(x, 75).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.ones_like(x), rtol=0, atol=1e-3)


def test_a_blur_keeps_what_is_flat_and_spreads_a_point():
    torch.testing.assert_close(blur(torch.full((1, 3, 9, 9), 0.25), 1.0), torch.full((1, 3, 9, 9), 0.25))
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1.0
    spread = blur(point, 1.0)
    assert float(spread.sum()) == pytest.approx(1.0)
    assert float(spread[0, 0, 4, 4]) == pytest.approx(0.3990**2, rel=1e-2)  # a Gaussian's peak: 1 / sqrt(2 pi)


def test_journeys_differ_are_finite_and_let_gradients_through():
    journey = Journey(np.random.default_rng(0))
    picture = to_tensor(smooth_picture(1, 64, 64))[None].repeat(2, 1, 1, 1)
    shapes, unchanged = set(), 0
    for _ in range(60):
        x = picture.clone().requires_grad_(True)
        seen = journey(x)
        assert seen.isfinite().all()
        assert (seen - 0.5).abs().max() < 0.75
        seen.sum().backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0
        shapes.add(tuple(seen.shape[-2:]))
        unchanged += int(seen.shape == x.shape and torch.equal(seen, x))
    assert len(shapes) > 10
    assert 2 <= unchanged <= 25
    assert min(min(shape) for shape in shapes) >= 32


def test_a_journey_repeats_with_its_generators():
    x = to_tensor(smooth_picture(1, 64, 64))[None]
    results = []
    for _ in range(2):
        torch.manual_seed(1)
        journey = Journey(np.random.default_rng(5))
        results.append([journey(x) for _ in range(5)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_tiny_pictures_survive():
    journey = Journey(np.random.default_rng(0))
    for _ in range(40):
        assert journey(torch.rand(1, 3, 20, 33)).isfinite().all()
