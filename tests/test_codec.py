"""encode and decode as a whole: sizes of pictures and files, qualities, strips, precision, what travels along.

Who may read what is in test_codec_seal.py.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from psic_cli import codec, zoo
from psic_cli.bitstream.container import Section, unpack
from psic_cli.bitstream.tables import TOTAL
from psic_cli.codec import Version
from psic_cli.errors import ConditionError, InputError
from psic_cli.latents import integers, level_of, read_latents
from psic_cli.networks import strips
from psic_cli.picture import Picture

TESTS = Path(__file__).parent
SECRET = bytes(range(32))


def photo(name: str) -> np.ndarray:
    with Image.open(TESTS.parent / "sample_images" / f"{name}.png") as image:
        return np.array(image.convert("RGB"))


COFFEE, CAT = photo("coffee"), photo("cat")


@pytest.fixture(scope="module", autouse=True)
def _tiny_models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PSIC_MODELS", str(TESTS / "vectors" / "models"))
        yield


@pytest.fixture(scope="module")
def model(_tiny_models) -> zoo.Model:
    return zoo.load("tiny", precision="float32")


def full(data: bytes) -> Picture:
    return codec.decode(data, SECRET, version=Version.FULL, precision="float32")


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return -10 * math.log10(np.square(one.astype(float) - other).mean() / 255**2)


# Pictures of any size


@settings(max_examples=25)
@given(width=st.integers(1, 130), height=st.integers(1, 130), quality=st.integers(1, 100), data=st.data())
def test_a_picture_of_any_size_comes_back_in_its_size(model, width, height, quality, data):
    top, left = data.draw(st.integers(0, 400 - height)), data.draw(st.integers(0, 600 - width))
    picture = Picture(COFFEE[top : top + height, left : left + width])
    encoded = codec.encode(picture, SECRET, model=model, quality=quality)
    for version in Version:
        decoded = codec.decode(encoded, SECRET, version=version, precision="float32")
        assert decoded.rgb.shape == (height, width, 3)
        assert decoded.rgb.dtype == np.uint8
        assert decoded.rgb.flags.c_contiguous
    header = unpack(encoded).header
    assert (header.width, header.height, header.quality) == (width, height, quality)


@pytest.mark.parametrize(("height", "width"), [(37, 53), (1, 70), (65, 64)])
def test_padding_repeats_the_last_row_and_column(model, height, width):
    rgb = COFFEE[100 : 100 + height, 200 : 200 + width]
    padded = np.pad(rgb, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")
    one, other = (codec.encode(Picture(x), None, model=model, strength=0, effort=0) for x in (rgb, padded))
    assert unpack(one).sections == unpack(other).sections
    assert (full(one).rgb == full(other).rgb[:height, :width]).all()


def test_pixels_need_not_lie_in_order_in_memory(model):
    mirrored = CAT[:64, 63::-1]
    data = codec.encode(Picture(mirrored), None, model=model)
    assert data == codec.encode(Picture(np.ascontiguousarray(mirrored)), None, model=model)


def test_more_pixels_than_allowed_are_refused(model):
    data = codec.encode(Picture(CAT[:20, :30]), None, model=model)
    assert codec.decode(data, max_pixels=600, precision="float32").rgb.shape == (20, 30, 3)
    with pytest.raises(InputError, match="600 pixels, more than 599"):
        codec.decode(data, max_pixels=599)


# Qualities and sizes of files


def test_quality_buys_fidelity_with_bytes(model):
    files = [codec.encode(Picture(CAT), SECRET, model=model, quality=quality) for quality in (1, 50, 100)]
    assert len(files[0]) < 0.9 * len(files[1]) < 0.9**2 * len(files[2])
    fidelity = [psnr(full(data).rgb, CAT) for data in files]
    assert 26 < fidelity[0] < fidelity[1] < fidelity[2]


def test_every_gain_level_codes_what_it_predicts(model):
    levels = set()
    for quality in (*range(1, 100, 7), 100):
        data = codec.encode(Picture(CAT[:16, :16]), None, model=model, quality=quality)
        levels.add(int(level_of(unpack(data).header, model)))
        assert np.abs(full(data).rgb.astype(int) - CAT[:16, :16]).mean() < 40
    assert {0, 63} < levels


def bits_of(symbols: np.ndarray, indexes: np.ndarray, tables) -> float:
    """What an ideal coder would need for these symbols with these integer tables and escapes (FORMAT.md 7 and 9)."""
    bits = 0.0
    for symbol, index in zip(symbols.ravel().tolist(), indexes.ravel().tolist(), strict=True):
        first, size, row = int(tables.offsets[index]), int(tables.sizes[index]), tables.row(index)
        inside = first <= symbol < first + size
        entry = symbol - first if inside else size
        bits -= math.log2((int(row[entry + 1]) - int(row[entry])) / TOTAL)
        if not inside:
            last = first + size - 1
            folded = 2 * (symbol - last) - 1 if symbol > last else 2 * (first - symbol)
            bits += 2 * (folded.bit_length() - 1) + 1
    return bits


@pytest.mark.parametrize("sealed", [True, False])
def test_a_file_is_as_large_as_its_tables_promise(model, sealed):
    data = codec.encode(Picture(CAT), SECRET if sealed else None, model=model, quality=60)
    container = unpack(data)
    latents = read_latents(container.header, container.sections, model)
    z_tables = model.network.config.z_tables(latents.level)[0].numpy().repeat(latents.z[0].size)
    bits = bits_of(latents.z, z_tables, model.z_tables) + bits_of(latents.y, integers(latents.index), model.y_tables)
    bits += 8 * len(codec._sealed_sections(data, container, SECRET)[Section.MOVES])
    assert 0.99 * bits <= 8 * len(data) <= 1.01 * bits + 8 * 96


# Large pictures in strips


@pytest.fixture
def strip_calls(monkeypatch):
    """Strips as short as they may be; a list of how many each picture was cut into."""
    calls = []

    def counting(part, *planes, **places):
        monkeypatch.setattr(strips, "STRIP_CELLS", 8)
        pieces = []

        def counted(*rows):
            pieces.append(rows[0].shape)
            return part(*rows)

        result = strips.in_strips(counted, *planes, **places)
        calls.append(len(pieces))
        return result

    monkeypatch.setattr("psic_cli.networks.network.in_strips", counting)
    return calls


def test_strips_change_neither_symbols_nor_pixels(model, request):
    rgb = COFFEE[:, :100]
    x = torch.from_numpy(np.pad(rgb, ((0, 48), (0, 28), (0, 0)), mode="edge")).permute(2, 0, 1)[None].float() / 255
    quality = torch.tensor([0.5])
    y, z = model.network.analyse(x, quality)
    data = codec.encode(Picture(rgb), None, model=model)
    pictures = [codec.decode(data, version=version, precision="float32").rgb for version in Version]

    calls = request.getfixturevalue("strip_calls")
    y_strips, z_strips = model.network.analyse(x, quality)
    assert calls == [28, 7]
    torch.testing.assert_close(y_strips, y, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(z_strips, z, rtol=1e-5, atol=1e-3)
    # Only a latent within rounding of the border between two symbols may fall on its other side.
    assert (y_strips.round() != y.round()).float().mean() < 0.001
    assert torch.equal(z_strips.round(), z.round())
    for version, expected in zip(Version, pictures, strict=True):
        found = codec.decode(data, version=version, precision="float32").rgb
        assert np.abs(found.astype(int) - expected).max() <= 1
    assert min(calls) >= 4


# Precision


@pytest.mark.parametrize("version", Version)
def test_bfloat16_moves_pixels_by_less_than_half_a_level(model, version):
    data = codec.encode(Picture(CAT), SECRET, model=model, quality=80)
    fine, coarse = (
        codec.decode(data, SECRET, version=version, precision=name).rgb.astype(int) for name in ("float32", "bfloat16")
    )
    assert np.abs(fine - coarse).mean() <= 0.5
    assert psnr(coarse, CAT) > psnr(fine, CAT) - 0.05


def test_an_encoder_in_bfloat16_loses_next_to_nothing(model):
    quick = zoo.load("tiny", precision="bfloat16")
    fine, coarse = (
        codec.encode(Picture(CAT), SECRET, model=one, quality=80, strength=0, effort=0) for one in (model, quick)
    )
    assert psnr(full(coarse).rgb, CAT) > psnr(full(fine).rgb, CAT) - 0.05
    assert len(coarse) < 1.01 * len(fine)


# What travels along


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_alpha_is_lossless(model, width, height, seed):
    alpha = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    data = codec.encode(Picture(CAT[:height, :width], alpha), SECRET, model=model)
    for version in Version:
        found = codec.decode(data, SECRET, version=version, precision="float32").alpha
        assert found is not None
        assert (found == alpha).all()


def test_without_alpha_there_is_none(model):
    data = codec.encode(Picture(CAT[:9, :9]), SECRET, model=model)
    assert Section.ALPHA not in unpack(data).sections
    assert full(data).alpha is None


@pytest.mark.parametrize("version", Version)
def test_profile_and_greyness_are_public(model, version):
    picture = Picture(CAT[:9, :9], grey=True, icc=b"a profile")
    sealed = codec.encode(picture, SECRET, model=model)
    decoded = codec.decode(
        sealed, SECRET if version is not Version.PROTECTED else None, version=version, precision="float32"
    )
    assert decoded.icc == b"a profile"
    assert decoded.grey is True
    assert codec.decode(codec.encode(Picture(CAT[:9, :9]), None, model=model), precision="float32").grey is False


def test_metadata_is_sealed_with_the_key(model):
    picture = Picture(CAT[:9, :9], exif=b"II*\0 place", xmp=b"<x/>")
    data = codec.encode(picture, SECRET, model=model)
    assert b"place" not in data
    for version in Version:
        decoded = codec.decode(data, SECRET, version=version, precision="float32")
        expected = (None, None) if version is Version.PROTECTED else (picture.exif, picture.xmp)
        assert (decoded.exif, decoded.xmp) == expected


@pytest.mark.parametrize("secret", [None, SECRET])
@pytest.mark.parametrize("version", Version)
def test_metadata_comes_with_any_version_if_asked_and_with_none_if_refused(model, version, secret):
    picture = Picture(CAT[:9, :9], exif=b"II*\0 place", xmp=b"<x/>")
    data = codec.encode(picture, secret, model=model)
    for metadata, expected in ((None, version is not Version.PROTECTED), (True, True), (False, False)):
        decoded = codec.decode(data, secret, version=version, precision="float32", metadata=metadata)
        assert (decoded.exif, decoded.xmp) == ((picture.exif, picture.xmp) if expected else (None, None))
        plain = codec.decode(data, secret, version=version, precision="float32")
        assert (decoded.rgb == plain.rgb).all(), "the picture is the same"


def test_metadata_behind_the_seal_needs_the_key(model):
    data = codec.encode(Picture(CAT[:9, :9], exif=b"II*\0 place"), SECRET, model=model)
    with pytest.raises(ConditionError, match="need the key"):
        codec.decode(data, metadata=True)


def test_colours_under_alpha_0_are_not_coded_unless_asked(model):
    alpha = np.zeros(CAT.shape[:2], np.uint8)
    alpha[:, 60:] = 255
    erased = np.where((alpha > 0)[..., None], CAT, 7)
    plain, kept = (codec.encode(Picture(CAT, alpha), None, model=model, keep_hidden=keep) for keep in (False, True))
    assert plain == codec.encode(Picture(erased, alpha), None, model=model), "whatever was there"
    assert kept != plain
    coded = unpack(kept).sections[Section.Y]
    assert coded == unpack(codec.encode(Picture(CAT), None, model=model)).sections[Section.Y]
    picture = codec.decode(plain, version=Version.FULL)
    assert picture.alpha is not None
    assert (picture.alpha == alpha).all()


def test_sections_that_are_not_needed_are_not_there(model):
    picture = Picture(CAT[:9, :9], icc=b"", exif=b"", xmp=b"")
    data = codec.encode(picture, SECRET, model=model)
    assert set(unpack(data).sections) == {Section.Z, Section.Y, Section.SEALED}
    inside = codec._sealed_sections(data, unpack(data), SECRET)
    assert set(inside) == {Section.MOVES}
