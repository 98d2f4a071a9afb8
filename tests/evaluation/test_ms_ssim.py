import numpy as np
import pytest
import torch

from psic_cli.evaluation.ms_ssim import Reference
from tests.evaluation.conftest import noisy, picture

SIZES = [(161, 161), (170, 165), (203, 187)]  # with sides that are odd at one scale or another


def as_tensor(rgb):
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].double()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_agrees_with_pytorch_msssim(width, height):
    package = pytest.importorskip("pytorch_msssim")
    a = picture(width=width, height=height)
    for spread in (3, 20):
        b = noisy(a, spread)
        expected = package.ms_ssim(as_tensor(a), as_tensor(b), data_range=255.0).item()
        assert Reference(a).similarity(b) == pytest.approx(expected, abs=1e-5)


def test_it_agrees_with_what_compressai_reports():
    """CompressAI's own evaluation calls pytorch-msssim with its defaults on pictures in 0..1."""
    package = pytest.importorskip("pytorch_msssim")
    a = picture(width=170, height=165)
    b = noisy(a, 8)
    expected = package.ms_ssim(as_tensor(a) / 255, as_tensor(b) / 255, data_range=1.0).item()
    assert Reference(a).similarity(b) == pytest.approx(expected, abs=1e-5)


def test_equal_pictures_are_alike_and_noise_makes_them_less_so():
    a = picture(width=170, height=165)
    reference = Reference(a)
    assert reference.similarity(a) == pytest.approx(1)
    assert reference.similarity(noisy(a, 30)) < reference.similarity(noisy(a, 8)) < 1


def test_a_negative_is_not_alike_at_all():
    a = noisy(np.full((170, 170, 3), 128, np.uint8), 40)
    assert Reference(a).similarity(255 - a) == 0


def test_a_flat_picture_and_a_brighter_one_differ_in_luminance_alone():
    """By hand: at the coarsest scale (2 * 100 * 120 + C1) / (100^2 + 120^2 + C1), to the power of its weight."""
    a, b = (np.full((176, 176, 3), level, np.uint8) for level in (100, 120))
    luminance = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    assert Reference(a).similarity(b) == pytest.approx(luminance**0.1333, abs=1e-4)


def test_small_pictures_are_refused():
    with pytest.raises(ValueError, match="161 pixels or more"):
        Reference(picture(width=300, height=160))
