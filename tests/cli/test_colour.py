"""Colour that files describe or hide: what becomes of it from the command line."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.cli.run import ROOT, psic

CASES = ROOT.parent / "shared" / "cases"


def png(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", **options)
    return stream.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def half_erased() -> tuple[np.ndarray, np.ndarray]:
    """RGBA [H, W, 4] whose right half has alpha 0 over a photo, and a mask of that half."""
    with Image.open(ROOT / "sample_images" / "cat.png") as image:
        rgb = np.array(image.convert("RGB"))[60:188, 100:292]
    hidden = np.zeros(rgb.shape[:2], bool)
    hidden[:, 96:] = True
    return np.dstack([rgb, np.where(hidden, 0, 255).astype(np.uint8)]), hidden


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(65025 / np.mean(np.square(one.astype(float) - other.astype(float)))))


def shared_case(name: str) -> bytes:
    path = CASES / name
    if not path.exists():
        pytest.skip("the shared cases are not here")
    return path.read_bytes()


# Hidden colour


@pytest.mark.parametrize("shared", [False, True])
def test_what_was_erased_cannot_be_had_back_and_the_file_is_smaller(tmp_path, shared):
    if shared:
        source = pixels(shared_case("01_hidden_under_alpha.png"))
        hidden = source[..., 3] == 0
    else:
        source, hidden = half_erased()
    data = png(source)
    cleared, kept = (psic("encode", "--open", *option, stdin=data) for option in ([], ["--keep-hidden"]))
    assert len(cleared) < 0.75 * len(kept)
    for version in ([], ["--full"]):
        found = {name: pixels(psic("decode", *version, stdin=file)) for name, file in (("c", cleared), ("k", kept))}
        for picture in found.values():
            assert (picture[..., 3] == source[..., 3]).all()
            assert psnr(picture[~hidden, :3], source[~hidden, :3]) > 28
        assert psnr(found["k"][hidden, :3], source[hidden, :3]) > 28
        assert psnr(found["c"][hidden, :3], source[hidden, :3]) < 18


def test_two_pictures_that_differ_in_hidden_colour_alone_give_the_same_file(folder):
    source, hidden = half_erased()
    other = source.copy()
    other[hidden, :3] = 255 - other[hidden, :3]
    files = [psic("encode", "-m", "tiny", "--open", stdin=png(picture)) for picture in (source, other)]
    assert files[0] == files[1]
    for quiet in (["--keep-hidden"], []):
        files.append(psic("encode", "-m", "tiny", "--open", *quiet, stdin=png(source)))
    assert files[2] != files[3] == files[0]
