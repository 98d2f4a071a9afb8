"""What a search works on, whole and in bands."""

import numpy as np
import pytest
import torch
from PIL import Image

from psic_cli import codec
from psic_cli.bitstream.header import Header
from psic_cli.codec import Version
from psic_cli.latents import level_of
from psic_cli.networks import strips
from psic_cli.networks.backbone import clamp_z
from psic_cli.networks.padded import Padded
from psic_cli.picture import Picture
from psic_cli.search import subject as of_subject
from psic_cli.search.subject import Subject, subject_of
from tests.cli.run import ROOT

with Image.open(ROOT / "sample_images" / "coffee.png") as image:
    TALL = np.array(image.convert("RGB").resize((90, 777), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def tall(model) -> Subject:
    header = Header(90, 777, 50, 0, "psic-base", bytes(8), sealed=False)
    level = level_of(header, model)
    x = Padded(levels := torch.from_numpy(TALL).permute(2, 0, 1)[None])
    with torch.no_grad():
        y, z = model.network.analyse(x, model.network.quality(level))
        return subject_of(levels, model.network.scale(y, level), clamp_z(z).to(model.choose_integers()), header, model)


@torch.no_grad()
def test_bands_together_are_the_whole(tall, monkeypatch):
    monkeypatch.setattr(of_subject, "BAND_CELLS", 1)
    bands = list(tall.bands())
    assert len(bands) > 3
    assert torch.equal(torch.cat([band.latents[:, :, own] for band, own in bands], dim=2), tall.latents)
    rows = [slice(own.start * 16, own.stop * 16) for _, own in bands]
    painted = [band.paint(band.latents)[:, :, own] for (band, _), own in zip(bands, rows, strict=True)]
    assert torch.cat(painted, dim=2).shape == tall.x.shape
    assert (torch.cat(painted, dim=2) - tall.paint(tall.latents)).abs().max() < 0.01


@torch.no_grad()
@pytest.mark.parametrize("cells", [strips.STRIP_CELLS, 1])
def test_what_symbols_look_like_is_clamped_and_compared_with_all_of_the_picture(tall, monkeypatch, cells):
    whole = tall.paint(tall.plain + tall.mean).clamp(0, 1)
    monkeypatch.setattr(strips, "STRIP_CELLS", cells)
    kept, error = tall.shown(tall.plain, lambda rows: 2 * rows)
    assert kept.shape == tall.x.shape
    assert (kept / 2 - whole).abs().max() < 1e-4
    assert error.item() == pytest.approx((whole - tall.x).square().mean().item(), rel=1e-3)


def test_a_picture_of_one_band_is_searched_as_it_is(tall):
    ((band, own),) = tall.bands()
    assert band is tall
    assert own == slice(0, tall.latents.shape[2])


def test_rounding_is_worth_as_much_in_bands(model, monkeypatch):
    def encoded() -> tuple[int, float]:
        data = codec.encode(Picture(TALL), None, model=model, strength=0, effort=5, advance=lambda *at: told.append(at))
        lost = codec.decode(data, version=Version.FULL, precision="float32").rgb.astype(float) - TALL
        return len(data), np.square(lost).mean()

    told: list[tuple[int, int]] = []
    size, error = encoded()
    assert told[-1] == (4, 4)
    monkeypatch.setattr(of_subject, "BAND_CELLS", 1)
    told.clear()
    size_in_bands, error_in_bands = encoded()
    assert told[-1][0] == told[-1][1] > 8
    assert abs(size_in_bands / size - 1) < 0.01
    assert abs(error_in_bands / error - 1) < 0.01
