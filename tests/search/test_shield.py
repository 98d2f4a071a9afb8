"""The shield of the shipped model: what it does to models, to the picture, and to the file."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli import codec, zoo
from psic_cli.bitstream.container import Section, unpack
from psic_cli.codec import Version
from psic_cli.latents import read_latents, read_moves
from psic_cli.picture import Picture, Pixels
from psic_cli.search import find
from psic_cli.vlp.interface import load_vlp
from tests.cli.run import ROOT

with Image.open(ROOT / "sample_images" / "coffee.png") as image:
    CAT = np.array(Image.open(ROOT / "sample_images" / "cat.png").convert("RGB").resize((128, 96)))
    COFFEE = np.array(image.convert("RGB"))[100:228, 180:340]


def encoded(model: zoo.Model, rgb: Pixels = COFFEE, **options) -> bytes:
    """An open file, so that equal files have equal bytes."""
    return codec.encode(Picture(rgb), None, model=model, **options)


def decoded(data: bytes, version: Version = Version.PROTECTED, **options) -> Pixels:
    return codec.decode(data, version=version, precision="float32", **options).rgb


def psnr(rgb: Pixels, original: Pixels = COFFEE) -> float:
    return -10 * math.log10(np.square(rgb.astype(float) - original).mean() / 255**2)


def likeness(vlp, rgb: Pixels, original: Pixels = COFFEE) -> float:
    """Cosine between what a model sees in two pictures."""
    batch = torch.from_numpy(np.stack([rgb, original])).permute(0, 3, 1, 2).float() / 255
    one, other = vlp.encode_image(batch)
    return float(one @ other)


@pytest.fixture(scope="module")
def shielded(model, witness) -> bytes:
    """A file whose shield was searched against witness:lite0 alone."""
    return encoded(model, surrogates=[witness])


def test_what_was_searched_against_misreads_the_protected_version_and_reads_the_full_one(model, shielded, witness):
    plain = likeness(witness, decoded(encoded(model, strength=0), Version.FULL))
    assert likeness(witness, decoded(shielded)) < plain - 0.2
    assert likeness(witness, decoded(shielded, Version.FULL)) > plain - 0.03


def test_the_judge_which_took_no_part_sees_less_too(shielded):
    judge = load_vlp("witness:lite2")
    assert likeness(judge, decoded(shielded)) < likeness(judge, decoded(shielded, Version.FULL)) - 0.1


def test_a_whole_shield_costs_about_a_decibel(shielded):
    assert 0.3 < psnr(decoded(shielded, Version.FULL)) - psnr(decoded(shielded)) < 1.5


def test_a_shield_is_drawn_in_brightness_rather_than_in_colours(shielded):
    drawn = decoded(shielded).astype(float) - decoded(shielded, Version.FULL)
    brightness = drawn.mean(2, keepdims=True)
    assert np.square(drawn - brightness).mean() < 0.11 * np.square(brightness).mean()


def test_the_full_version_loses_next_to_nothing_by_the_shield(model, shielded):
    plain = encoded(model, strength=0)
    assert psnr(decoded(shielded, Version.FULL)) > psnr(decoded(plain, Version.FULL)) - 0.15
    assert len(shielded) < 1.2 * len(plain)


@pytest.mark.parametrize("condition", [(0.0, 0.0), (0.5, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_whatever_is_asked_of_the_network_the_public_latents_are_misread(shielded, witness, condition):
    assert likeness(witness, decoded(shielded, condition=condition)) < 0.6


def test_few_latents_move_and_most_by_one_step(model, shielded):
    container = unpack(shielded)
    latents = read_latents(container.header, container.sections, model)
    moves = read_moves(container.sections[Section.MOVES], latents)
    moved = np.abs(moves[moves != 0])
    assert 0 < len(moved) < 0.05 * moves.size
    assert (moved == 1).mean() > 0.7


def test_without_strength_the_protected_version_is_the_full_one_and_no_move_is_kept(model):
    data = encoded(model, strength=0)
    assert (decoded(data) == decoded(data, Version.FULL)).all()
    assert unpack(data).sections[Section.MOVES] == b""


def test_half_the_strength_costs_less_and_hides_less(model, shielded, witness):
    half = encoded(model, strength=50, surrogates=[witness])
    whole_loss, half_loss = (psnr(decoded(data, Version.FULL)) - psnr(decoded(data)) for data in (shielded, half))
    assert 0.35 * whole_loss < half_loss < 0.65 * whole_loss
    assert likeness(witness, decoded(half)) > likeness(witness, decoded(shielded))


def test_the_same_picture_gives_the_same_bytes(model, shielded, witness):
    assert encoded(model, surrogates=[witness]) == shielded


def test_more_effort_hides_more(model, shielded, witness):
    quick = encoded(model, effort=0, surrogates=[witness])
    assert likeness(witness, decoded(quick)) > likeness(witness, decoded(shielded)) + 0.1


@pytest.mark.parametrize(
    "rgb",
    [COFFEE[:16, :16], COFFEE[:1], COFFEE[:3, :130], np.zeros_like(COFFEE[:40, :40]), np.full_like(COFFEE[:70], 255)],
)
def test_small_thin_and_even_pictures_are_searched_too(model, witness, rgb):
    data = encoded(model, np.ascontiguousarray(rgb), effort=2, surrogates=[witness])
    assert decoded(data).shape == rgb.shape


def test_steps_are_told_one_by_one(model, witness):
    told = []
    encoded(model, CAT, effort=4, surrogates=[witness], advance=lambda done, of: told.append((done, of)))
    assert told == [(n + 1, len(told)) for n in range(len(told))]
    assert len(told) > 5


@pytest.mark.parametrize("effort", [-1, 10])
def test_an_effort_that_there_is_not_is_refused(model, effort):
    with pytest.raises(ValueError, match="0 to 9"):
        encoded(model, effort=effort)


def test_at_the_lowest_quality_the_full_version_is_moved_towards_what_models_read(model, witness, monkeypatch):
    with Image.open(ROOT / "sample_images" / "cat.png") as image:
        cat = np.array(image.convert("RGB").resize((256, 224)))
    readable = encoded(model, cat, quality=1, strength=0, surrogates=[witness])
    monkeypatch.setattr(find, "READABLE_BELOW", 0)
    plain = encoded(model, cat, quality=1, strength=0, surrogates=[witness])
    one, other = (decoded(data, Version.FULL) for data in (readable, plain))
    assert likeness(witness, one, cat) > likeness(witness, other, cat) + 0.015
    assert psnr(one, cat) > psnr(other, cat) - 0.6
    assert len(readable) < 1.06 * len(plain)
