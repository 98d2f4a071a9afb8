"""The shield of pictures that are larger than models look at."""

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli import codec
from psic_cli.codec import Version
from psic_cli.picture import Picture, Pixels
from psic_cli.search.large import SIDE
from tests.cli.run import ROOT
from tests.search.test_shield import encoded, likeness, psnr


@pytest.fixture(scope="module")
def large() -> Pixels:
    with Image.open(ROOT / "sample_images" / "coffee.png") as image:
        return np.array(image.convert("RGB").resize((SIDE + 200, SIDE + 80), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def versions(model, witness, large) -> dict[Version, Pixels]:
    data = encoded(model, large, surrogates=[witness])
    return {v: codec.decode(data, version=v, precision="float32").rgb for v in (Version.PROTECTED, Version.FULL)}


def test_a_large_picture_is_misread_without_the_key_and_read_with_it(versions, large, witness):
    full = likeness(witness, versions[Version.FULL], large)
    assert likeness(witness, versions[Version.PROTECTED], large) < full - 0.25
    assert full > 0.85


def test_its_shield_costs_about_a_decibel(versions, large):
    lost = psnr(versions[Version.FULL], large) - psnr(versions[Version.PROTECTED], large)
    assert 0.2 < lost < 1.2


def test_its_shield_is_drawn_in_brightness_and_leaves_colours_as_they_are(versions):
    drawn = versions[Version.PROTECTED].astype(float) - versions[Version.FULL]
    brightness = drawn.mean(2, keepdims=True)
    assert np.square(drawn - brightness).mean() < 0.12 * np.square(brightness).mean()


def test_it_is_misread_at_half_its_size_too(versions, large, witness):
    def half(rgb: Pixels) -> Pixels:
        return np.array(Image.fromarray(rgb).resize((large.shape[1] // 2, large.shape[0] // 2)))

    assert likeness(witness, half(versions[Version.PROTECTED]), half(large)) < 0.7


def test_passes_are_told_one_by_one_and_no_gradient_goes_through_the_codec(model, witness, large):
    told = []
    painted = model.network.synthesise

    def without_gradients(*args):
        assert not torch.is_grad_enabled()
        return painted(*args)

    model.network.synthesise = without_gradients
    try:
        encoded(model, large, effort=2, surrogates=[witness], advance=lambda *step: told.append(step))
    finally:
        del model.network.synthesise
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("shape", [(SIDE + 1, SIDE + 1), (SIDE + 1, 3 * SIDE)])
def test_pictures_just_above_the_border_and_oblong_ones_keep_their_size(model, witness, large, shape):
    rgb = np.resize(large, (*shape, 3))
    data = codec.encode(Picture(rgb), None, model=model, effort=1, surrogates=[witness])
    assert codec.decode(data).rgb.shape == rgb.shape
