"""Drawn training pictures: made by numbers alone, and of the kinds that photographs lack."""

import numpy as np
import pytest

from psic_cli.training.data import CropSource
from psic_cli.training.drawings import drawing
from tests.training.conftest import smooth_picture


def test_a_seed_gives_the_same_drawings_again_and_another_seed_others():
    first, again, other = (
        [drawing(96, np.random.default_rng([seed, number])) for number in range(12)] for seed in (1, 1, 2)
    )
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert all((a != b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("side", [17, 64, 257])
def test_every_drawing_fills_its_square_and_shows_something(side):
    for number in range(40):
        made = drawing(side, np.random.default_rng(number))
        assert made.shape == (side, side, 3)
        assert made.dtype == np.uint8
        assert side < 64 or len(np.unique(made.reshape(-1, 3), axis=0)) > 1


def test_drawings_are_plain_ground_with_sharp_edges_on_white_tinted_and_dark_paper():
    made = [drawing(128, np.random.default_rng(number)).astype(int) for number in range(120)]
    ground = [np.bincount(rgb.mean(2).astype(int).ravel(), minlength=256) for rgb in made]
    assert np.median([counts.max() / counts.sum() for counts in ground]) > 0.4
    assert np.median([np.abs(np.diff(rgb, axis=1)).max() for rgb in made]) > 100
    papers = [int(counts.argmax()) for counts in ground]
    assert {True, False} == {paper == 255 for paper in papers if paper > 150}
    assert 0.03 < np.mean([paper < 110 for paper in papers]) < 0.45


def test_a_share_of_the_crops_are_drawings():
    photo = smooth_picture(0, 80, 80)

    def plain(share: float) -> float:
        """Share of the crops in which half of the pixels have one colour: no photo is like that."""
        crops = [x for n in range(8) for x in CropSource([photo], 64, 25, seed=n, drawn=share).next_batch()]
        most = [
            np.unique((255 * x).round().byte().flatten(1).T.numpy(), axis=0, return_counts=True)[1].max() for x in crops
        ]
        return float(np.mean(np.array(most) > 0.3 * 64 * 64))

    assert plain(0.0) == 0
    assert 0.12 < plain(0.3) < 0.33
    assert plain(1.0) > 0.45
