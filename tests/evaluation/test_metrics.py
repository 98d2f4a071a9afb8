import math

import numpy as np
import pytest

from psic_cli.evaluation.metrics import average, psnr, ratio
from tests.evaluation.conftest import known, noisy, picture


def test_psnr_of_a_known_error():
    a = np.full((2, 2, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0, 0] = 106  # 36 over 12 values: a mean of 3
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 3))


def test_psnr_does_not_wrap_around():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr(black, white) == psnr(white, black) == 0


def test_psnr_agrees_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    a = picture()
    b = noisy(a, 5)
    assert psnr(a, b) == pytest.approx(metrics.peak_signal_noise_ratio(a, b, data_range=255))


def test_equal_pictures_have_a_finite_psnr():
    assert psnr(picture(), picture()) == 100


def test_an_average_lies_in_its_interval_which_narrows_with_more_pictures():
    few, many = (np.random.default_rng(0).normal(5, 1, count) for count in (20, 2000))
    narrow, wide = average(many), average(few)
    assert narrow.value == pytest.approx(many.mean())
    assert narrow.low < narrow.value < narrow.high
    # of a mean of n values the interval is about 2 * 1.96 / sqrt(n) wide
    assert narrow.high - narrow.low == pytest.approx(3.92 / 2000**0.5, rel=0.15)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_the_interval_of_one_picture_has_no_width():
    only = average([3.0])
    assert (only.low, only.value, only.high) == (3, 3, 3)


def test_a_ratio_is_of_the_sums_and_undefined_over_nothing():
    assert known(ratio([1, 0, 1], [2, 2, 4])).value == 0.25
    assert ratio([0, 0], [0, 0]) is None


def test_intervals_are_the_same_every_time():
    assert ratio([1, 0, 1, 1], [1, 1, 1, 1]) == ratio([1, 0, 1, 1], [1, 1, 1, 1])
