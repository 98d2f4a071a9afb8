"""Training pictures: the held-out rule, crops, and batches of whole pictures at many sizes."""

import dataclasses
import json
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli.errors import InputError
from psic_cli.training import data
from psic_cli.training.compression import CompressionStage
from psic_cli.training.data import (
    LONGER,
    CropSource,
    ScaleSource,
    is_held_out,
    list_pictures,
    random_crop,
    read_large,
    read_pairs,
    read_rgb,
    to_tensor,
    toned,
)
from psic_cli.training.run import Run
from tests.training.conftest import smooth_picture

# The held-out rule


def test_what_is_held_out_depends_on_the_name_alone():
    for name in ("a.png", "photo 17.jpg", "ü.webp"):
        assert is_held_out(Path(name)) == is_held_out(Path("/elsewhere") / name)
    # Frozen: another rule would put pictures that a model was trained on among those that judge it.
    assert [n for n in range(200) if is_held_out(Path(f"{n}.png"))] == [38, 39, 118, 119, 168]


def test_about_one_picture_in_forty_is_held_out():
    held_out = sum(is_held_out(Path(f"picture{number}.jpg")) for number in range(20000))
    assert held_out == pytest.approx(20000 / 40, rel=0.15)


def test_training_never_sees_what_is_held_out(config, photos, tmp_path):
    stage = CompressionStage(Run(config, tmp_path, "cpu"))
    seen = {rgb.tobytes() for rgb in stage.source.pictures}
    for path in photos.iterdir():
        with Image.open(path) as image:
            assert (np.array(image).tobytes() in seen) == (not is_held_out(path))
    assert {side: [tuple(x.shape) for x in found] for side, found in stage.held_out.items()} == {
        256: [(1, 3, 256, 256)],
        640: [],
    }


# Reading


def test_pictures_are_found_in_folders_below_and_sorted(tmp_path):
    for name in ("b.JPG", "a.png", "below/c.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_pictures([str(tmp_path)])] == ["a.png", "b.JPG", "c.webp"]


@pytest.mark.parametrize("folders", [[], ["does-not-exist"]])
def test_no_pictures_are_an_error(folders):
    with pytest.raises(InputError, match="no pictures in"):
        list_pictures(folders)


def test_pairs_are_read_by_split(tmp_path):
    Image.fromarray(smooth_picture(0, 8, 9)).save(tmp_path / "one.png")
    rows = [
        {"split": "train", "image": "one.png", "captions": ["a cloud", "clouds"]},
        {"split": "val", "image": "missing.png", "captions": []},
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (pair,) = read_pairs(tmp_path / "captions.jsonl", "train")
    assert pair.rgb.shape == (8, 9, 3)
    assert pair.captions == ["a cloud", "clouds"]


def test_tensors_have_channels_first_and_run_from_0_to_1():
    tensor = to_tensor(np.array([[[0, 51, 255]]], dtype=np.uint8))
    assert tensor.shape == (3, 1, 1)
    assert tensor.flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])


# Crops


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 65), (20, 70), (1, 1)])
def test_a_crop_has_the_size_asked_for(height, width):
    rgb = smooth_picture(1, height, width)
    crop = random_crop(rgb, 64, np.random.default_rng(0))
    assert crop.shape == (64, 64, 3)
    assert crop.dtype == np.uint8


def test_crops_come_from_everywhere_and_are_mirrored_half_of_the_time():
    columns = np.broadcast_to(np.arange(100, dtype=np.uint8)[None, :, None], (100, 100, 3))
    generator = np.random.default_rng(0)
    crops = [random_crop(columns, 90, generator)[0, :, 0].astype(int) for _ in range(300)]
    mirrored = [crop[0] > crop[-1] for crop in crops]
    assert 0.4 < np.mean(mirrored) < 0.6
    assert {min(crop) for crop in crops} == set(range(11))


def test_batches_repeat_with_their_seed(photos):
    pictures = [read_rgb(path) for path in list_pictures([str(photos)])]
    first, again, other = (CropSource(pictures, 32, 4, seed).next_batch() for seed in (1, 1, 2))
    assert first.shape == (4, 3, 32, 32)
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert (first == again).all()
    assert (first != other).any()


def test_crops_come_from_pictures_that_are_nearly_large_enough(monkeypatch):
    monkeypatch.setattr(data, "TONED", 0.0)
    pictures = [np.full((side, side, 3), value, np.uint8) for side, value in ((40, 0), (52, 100), (100, 255))]
    seen = CropSource(pictures, 64, 100, seed=0).next_batch()
    assert set((255 * seen[:, 0, 0, 0]).round().int().tolist()) == {100, 255}


def test_pictures_are_drawn_the_more_often_the_larger_they_are(monkeypatch):
    monkeypatch.setattr(data, "TONED", 0.0)
    small, large = np.zeros((40, 40, 3), np.uint8), np.full((80, 180, 3), 255, np.uint8)
    seen = CropSource([small, large], 32, 400, seed=0).next_batch()
    assert seen.mean().item() == pytest.approx(3 / 4, abs=0.07)  # sides of 40 and of 120 pixels, as squares


def test_pictures_are_enlarged_where_none_is_large_enough():
    assert CropSource([np.zeros((40, 40, 3), np.uint8)], 64, 1, seed=0).next_batch().shape == (1, 3, 64, 64)


def scales(side: int, crop: int, monkeypatch) -> list[float]:
    """Pixels of a picture per pixel of its crops."""
    monkeypatch.setattr(data, "TONED", 0.0)
    columns = np.linspace(0, 255, side).astype(np.uint8)
    ramp = np.broadcast_to(columns[None, :, None], (side, side, 3))
    crops = [x[0] for x in CropSource([ramp], crop, 200, seed=0).next_batch()]
    return [float(x.max() - x.min()) * side / crop for x in crops]


def test_large_photos_are_shrunk_by_random_factors(monkeypatch):
    seen = scales(400, 64, monkeypatch)
    assert min(seen) == pytest.approx(1.0, rel=0.2)
    assert max(seen) == pytest.approx(2.5, rel=0.2)


def test_half_of_the_crops_of_other_photos_are_resized(monkeypatch):
    seen = np.array(scales(100, 64, monkeypatch))
    assert min(seen) == pytest.approx(0.8, rel=0.05)
    assert max(seen) == pytest.approx(100 / 64, rel=0.05)
    assert 0.3 < np.mean(np.abs(seen - 1) < 0.03) < 0.8


def test_crops_are_turned_and_mirrored_in_all_eight_ways(monkeypatch):
    monkeypatch.setattr(data, "TONED", 0.0)
    monkeypatch.setattr(data, "RESIZED", 0.0)
    corner = np.zeros((8, 8, 3), np.uint8)
    corner[0, 1:3] = 255
    seen = {x.numpy().tobytes() for x in CropSource([corner], 8, 100, seed=0).next_batch()}
    assert len(seen) == 8


def test_toned_crops_differ_in_brightness_and_colour_and_keep_black():
    rgb = np.dstack([np.full((4, 4), value, np.uint8) for value in (120, 90, 60)])
    rgb[0] = 0
    generator = np.random.default_rng(0)
    made = [toned(rgb, generator) for _ in range(50)]
    assert all(x.dtype == np.uint8 and x.shape == rgb.shape and not x[0].any() for x in made)
    brightness = np.array([x[1:].mean() for x in made])
    assert brightness.min() < 75 < 105 < brightness.max()
    assert np.std([float(x[1, 1, 0]) / x[1, 1, 2] for x in made]) > 0.1


def test_compression_sees_large_photos_and_validates_on_others(config, tmp_path):
    (tmp_path / "large").mkdir()
    for seed in range(8):
        Image.fromarray(smooth_picture(seed, 700, 800)).save(tmp_path / "large" / f"{seed}.png")
    large = dataclasses.replace(config.data, large=[str(tmp_path / "large")])
    stage = CompressionStage(Run(dataclasses.replace(config, data=large), tmp_path, "cpu"))
    assert sum(rgb.shape[0] == 700 for rgb in stage.source.pictures) == 7
    assert [tuple(x.shape) for x in stage.held_out[640]] == [(1, 3, 640, 640)]
    assert {"psnr32", "bpp32", "psnr32_at_640", "bpp32_at_640"} <= set(stage.validate())


def test_one_large_photo_in_eight_is_kept_for_validation(tmp_path):
    assert read_large([]) == ([], [])
    for number in range(17):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / f"{number:02}.png")
    training, held_out = read_large([str(tmp_path)])
    assert [int(rgb[0, 0, 0]) for rgb in held_out] == [7, 15]
    assert len(training) == 15


# Whole pictures


def test_a_batch_holds_as_many_pictures_as_its_pixels_allow():
    source = ScaleSource([smooth_picture(seed, 90, 120) for seed in range(3)], [16, 64], 64 * 64 * 2, seed=0)
    batches = [source.next_batch() for _ in range(20)]
    assert {tuple(batch.x.shape) for batch in batches} == {(32, 3, 16, 16), (2, 3, 64, 64)}
    assert tuple(ScaleSource(source.pictures, [64], 1, seed=0).next_batch().x.shape) == (1, 3, 64, 64)


def test_batches_tell_which_pictures_they_are_from():
    pictures = [np.full((40, 40, 3), value, np.uint8) for value in (0, 51, 102)]
    batch = ScaleSource(pictures, [16], 16 * 16 * 12, seed=0).next_batch()
    assert set(batch.numbers) == {0, 1, 2}
    expected = torch.tensor(batch.numbers) * 0.2
    torch.testing.assert_close(batch.x.mean((1, 2, 3)), expected, rtol=0, atol=1e-3)


def test_some_pictures_of_a_batch_get_other_colours():
    grey = np.full((64, 64, 3), 120, np.uint8)
    x = ScaleSource([grey], [32], 40 * 32 * 32, seed=0, share_toned=0.5).next_batch().x
    assert 10 < int(((x - 120 / 255).abs().amax((1, 2, 3)) < 1e-3).sum()) < 30
    assert (ScaleSource([grey], [32], 8 * 32 * 32, seed=0).next_batch().x - 120 / 255).abs().max() < 1e-3


def test_large_sides_take_large_pictures():
    pictures = [np.full((40, 40, 3), 10, np.uint8), np.full((100, 100, 3), 200, np.uint8)]
    source = ScaleSource(pictures, [100], 100 * 100, seed=0)
    assert all(source.next_batch().x.mean() == pytest.approx(200 / 255, abs=1e-3) for _ in range(10))


def test_sides_with_more_pixels_than_a_batch_are_drawn_less_often():
    """Four times the pixels: a quarter as often, so 1 in 5 against 4 in 5."""
    source = ScaleSource([np.zeros((64, 64, 3), np.uint8)], [32, 64], 32 * 32, seed=0)
    sides = [source[number].size[0] for number in range(1000)]
    assert sides.count(64) == pytest.approx(200, abs=50)


def test_some_batches_are_oblong_and_hold_about_as_many_pixels():
    source = ScaleSource([smooth_picture(1, 60, 50)], [32], 12 * 32 * 32, seed=0, share_oblong=0.5)
    shapes = [tuple(source.next_batch().x.shape) for _ in range(200)]
    assert {min(height, width) for _, _, height, width in shapes} == {32}
    assert 70 < sum(height == width for _, _, height, width in shapes) < 140  # a few are hardly oblong
    assert sum(height > width for _, _, height, width in shapes) < sum(width > height for _, _, height, width in shapes)
    assert all(0.8 < count * height * width / (12 * 32 * 32) <= 1 for count, _, height, width in shapes)
    longest = max(max(height, width) for _, _, height, width in shapes)
    assert 1.5 * 32 < longest <= LONGER * 32


def test_an_oblong_picture_shows_all_of_the_square():
    """Stretched, not cut: the right edge of the square is at the right edge."""
    rgb = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], 100, axis=0).repeat(3, axis=2)
    source = ScaleSource([rgb], [32], 1, seed=0, share_oblong=1.0)
    wide = [x for x in (source.next_batch().x for _ in range(60)) if x.shape[3] > 45]
    assert wide
    assert all((x[0, 0, :, -1] - x[0, 0, :, 0]).abs().min() > 0.6 * 0.65 * 200 / 255 for x in wide)


# Processes that cut out batches


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_however_many_processes_cut_them_and_wherever_a_run_goes_on(workers):
    pictures = [smooth_picture(seed, 60, 50) for seed in range(3)]
    torch.manual_seed(1)
    expected = [plain.next_batch().x for plain in [ScaleSource(pictures, [16, 24], 2000, seed=3)] for _ in range(5)]
    before = torch.get_rng_state()
    source = ScaleSource(pictures, [16, 24], 2000, seed=3, workers=workers)
    found = [source.next_batch().x for _ in range(3)]
    assert source.state() == {"number": 3}
    resumed = ScaleSource(pictures, [16, 24], 2000, seed=3, workers=workers)
    resumed.next_batch()
    resumed.load_state(source.state())
    found += [resumed.next_batch().x for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    assert torch.equal(torch.get_rng_state(), before)  # the run's own random numbers are untouched


@pytest.mark.slow
def test_a_process_that_nobody_lets_go_ends_some_time_after_it_was_told_to(monkeypatch):
    """As multiprocessing tells it at the end of a program, and waits."""
    monkeypatch.setattr(data, "LINGER", 1)
    before = set(multiprocessing.active_children())
    source = CropSource([smooth_picture(0, 60, 50)], 32, 1, seed=0, workers=1)
    source.next_batch()
    (child,) = set(multiprocessing.active_children()) - before
    child.terminate()

    def go_on() -> None:
        child.join(timeout=60)
        for _ in range(5):
            source.next_batch()

    with pytest.raises(RuntimeError, match="DataLoader worker"):
        go_on()
    assert not child.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_that_cut_batches_leave_signals_to_the_run(number):
    """Ctrl-C reaches all processes of a terminal; the run still finishes its step, and no process is left behind."""
    before = set(multiprocessing.active_children())
    source = CropSource([smooth_picture(0, 60, 50)], 32, 1, seed=0, workers=2)
    source.next_batch(), source.next_batch()  # one of each, so that both are at work
    children = set(multiprocessing.active_children()) - before
    assert len(children) == 2
    for child in children:
        assert child.pid is not None
        os.kill(child.pid, number)
    for _ in range(10):
        source.next_batch()
    source.close()
    for child in children:
        child.join(timeout=20)
        assert not child.is_alive()


def test_compression_sees_pictures_with_captions_too(config, tmp_path):
    Image.fromarray(np.full((60, 60, 3), 7, np.uint8)).save(tmp_path / "small.png")
    rows = [{"split": split, "image": "small.png", "captions": ["small"]} for split in ("train", "val")]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pairs = dataclasses.replace(config.data, pairs=str(tmp_path / "captions.jsonl"))
    source = CompressionStage(Run(dataclasses.replace(config, data=pairs), tmp_path, "cpu")).source
    assert sum((rgb == 7).all() for rgb in source.pictures) == 1
    assert min(source.chances) > 0
