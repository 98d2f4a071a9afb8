"""What a search works on, whole and in tiles."""

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


@pytest.fixture
def in_tiles(monkeypatch):
    """Pictures of any size are searched in small tiles."""
    monkeypatch.setattr(of_subject, "WHOLE_CELLS", 1)
    monkeypatch.setattr(of_subject, "TILE", 4)


@torch.no_grad()
def test_tiles_together_are_the_whole(tall, in_tiles):
    tiles = list(tall.tiles())
    rows, columns = tall.latents.shape[2:]
    assert len(tiles) == -(-rows // 4) * -(-columns // 4) > columns
    latents, painted = torch.full_like(tall.latents, torch.nan), torch.full_like(tall.x, torch.nan)
    for tile, own, place in tiles:
        latents[:, :, place[0], place[1]] = tile.latents[:, :, own[0], own[1]]
        shown = tile.paint(tile.latents)
        assert shown.shape == tile.x.shape
        there, here = ([slice(16 * of.start, 16 * of.stop) for of in which] for which in (place, own))
        painted[:, :, there[0], there[1]] = shown[:, :, here[0], here[1]]
    assert torch.equal(latents, tall.latents)
    assert (painted - tall.paint(tall.latents)).abs().max() < 0.01


@torch.no_grad()
@pytest.mark.parametrize("cells", [strips.STRIP_CELLS, 1])
def test_what_symbols_look_like_is_clamped_and_compared_with_all_of_the_picture(tall, monkeypatch, cells):
    whole = tall.paint(tall.plain + tall.mean).clamp(0, 1)
    monkeypatch.setattr(strips, "STRIP_CELLS", cells)
    kept, error = tall.shown(tall.plain, lambda rows: 2 * rows)
    assert kept.shape == tall.x.shape
    assert (kept / 2 - whole).abs().max() < 1e-4
    assert error.item() == pytest.approx((whole - tall.x).square().mean().item(), rel=1e-3)


def test_a_picture_of_one_tile_is_searched_as_it_is(tall):
    ((tile, own, place),) = tall.tiles()
    assert tile.latents.shape == tall.latents.shape
    assert tile.levels.shape == tall.levels.shape
    assert own == place == tuple(slice(0, side) for side in tall.latents.shape[2:])


def test_rounding_is_worth_as_much_in_tiles(model, request):
    def encoded() -> tuple[int, float]:
        data = codec.encode(Picture(TALL), None, model=model, strength=0, effort=5, advance=lambda *at: told.append(at))
        lost = codec.decode(data, version=Version.FULL, precision="float32").rgb.astype(float) - TALL
        return len(data), np.square(lost).mean()

    told: list[tuple[int, int]] = []
    size, error = encoded()
    assert told[-1] == (4, 4)
    request.getfixturevalue("in_tiles")
    told.clear()
    size_in_tiles, error_in_tiles = encoded()
    assert told[-1][0] == told[-1][1] > 8
    assert abs(size_in_tiles / size - 1) < 0.01
    assert abs(error_in_tiles / error - 1) < 0.01
