"""JPEG without its coder, beside the real one."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli.search.jpeg import JpegLike, cosine_transform
from psic_cli.training.data import to_tensor
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
