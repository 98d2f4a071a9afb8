"""The pictures that codecs are timed on."""

import numpy as np
import pytest

from psic_cli.benchmark.pictures import central_part, made_picture, sample_photo


@pytest.mark.parametrize("megapixels", [0.0001, 0.006, 0.4, 2])
def test_a_picture_has_the_size_asked_for_and_the_shape_of_a_photo(megapixels):
    rgb = made_picture(megapixels)
    assert rgb.dtype == np.uint8
    assert rgb.shape[0] * rgb.shape[1] / 1e6 == pytest.approx(megapixels, rel=0.1)
    assert rgb.shape[1] / rgb.shape[0] == pytest.approx(1.5, rel=0.1)


def test_the_same_picture_every_time():
    assert np.array_equal(made_picture(0.05), made_picture(0.05))


def test_tiles_meet_without_edges():
    rgb = made_picture(2).astype(int)
    steps = np.abs(np.diff(rgb, axis=1)).mean((0, 2))
    assert steps[1199] < 2 * steps.mean()  # the sample is 600 wide and enlarged twice: here its mirror image begins


def test_the_central_part_is_the_middle():
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[10:30, 15:45] = 255
    assert central_part(rgb, 600).shape == (20, 30, 3)
    assert central_part(rgb, 600).all()
    assert central_part(rgb, 1e6).shape == rgb.shape


def test_the_sample_is_there():
    assert sample_photo().is_file()
