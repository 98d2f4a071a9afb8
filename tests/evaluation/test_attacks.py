import io

import numpy as np
import pytest
from PIL import Image

from psic_cli.errors import UsageError
from psic_cli.evaluation.attacks import ATTACKS, NONE, apply, find_attacks
from tests.evaluation.conftest import picture

ON_PIXELS = [attack for attack in ATTACKS.values() if attack.change]
SEED = bytes(range(32))


@pytest.mark.parametrize("attack", ON_PIXELS, ids=lambda attack: attack.name)
def test_an_attack_gives_the_same_picture_every_time_and_leaves_its_input_alone(attack):
    rgb = picture(3)
    before = rgb.copy()
    first, second = apply(attack, rgb, SEED), apply(attack, rgb, SEED)
    assert np.array_equal(first, second)
    assert np.array_equal(rgb, before)
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert not np.array_equal(first, rgb)


@pytest.mark.parametrize("attack", ON_PIXELS, ids=lambda attack: attack.name)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (9, 2, 3)])
def test_tiny_pictures_can_be_attacked(attack, shape):
    attacked = apply(attack, np.full(shape, 90, np.uint8), SEED)
    assert attacked.shape[2] == 3
    assert attacked.size


def test_chance_falls_alike_on_the_original_and_on_its_versions():
    original, version = np.full((20, 30, 3), 100, np.uint8), np.full((20, 30, 3), 110, np.uint8)
    moved, moved_alike = (apply(ATTACKS["noise"], rgb, SEED).astype(int) - rgb for rgb in (original, version))
    assert np.array_equal(moved, moved_alike)
    assert not np.array_equal(moved, apply(ATTACKS["noise"], original, SEED[::-1]).astype(int) - original)


def test_jpeg_is_what_pillow_writes():
    stream = io.BytesIO()
    Image.fromarray(picture(3)).save(stream, "JPEG", quality=50)
    assert np.array_equal(apply(ATTACKS["jpeg50"], picture(3), SEED), np.asarray(Image.open(stream)))


def test_a_crop_is_a_part_of_the_picture():
    rgb = picture(3, width=50, height=40)
    crop = apply(ATTACKS["crop"], rgb, SEED)
    assert crop.shape == (32, 40, 3)
    windows = np.lib.stride_tricks.sliding_window_view(rgb, crop.shape)
    assert (windows == crop).all((3, 4, 5)).any()


def test_attacks_are_found_by_name_after_none_at_all_and_each_once():
    assert [attack.name for attack in find_attacks("blur, jpeg75,blur")] == [NONE, "blur", "jpeg75"]
    assert [attack.name for attack in find_attacks("all")] == list(ATTACKS)


def test_an_unknown_attack_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match="unknown attack 'fog'") as error:
        find_attacks("blur,fog")
    assert "jpeg75" in str(error.value.hint)
