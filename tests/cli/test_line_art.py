"""Text and line art with the model that psic ships: quality buys quality there too."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.cli.run import psic

SHARED_TEXT = Path(__file__).parents[3] / "shared" / "cases" / "14_text.png"


def text(paper: str = "white") -> bytes:
    """Small black letters as a PNG file of 192 x 128 pixels."""
    picture = Image.new("RGB", (192, 128), paper)
    draw = ImageDraw.Draw(picture)
    for line in range(10):
        draw.text((4, 12 * line + 2), "The quick brown fox 0123456789", fill="black", font=ImageFont.load_default())
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def full_psnr(data: bytes, quality: int) -> float:
    """Of the full version of a PNG file, in dB."""
    coded = psic("encode", "--open", "-q", str(quality), stdin=data)
    assert coded.code == 0, coded.stderr
    back = psic("decode", "--full", "--format", "png", stdin=bytes(coded))
    assert back.code == 0, back.stderr
    first, second = (np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), float) for file in (data, back))
    return float(10 * np.log10(255**2 / np.square(first - second).mean()))


@pytest.mark.parametrize("name", ["drawn here", "shared"])
def test_quality_buys_quality_on_text(name):
    if name == "shared" and not SHARED_TEXT.exists():
        pytest.skip("no shared cases here")
    data = text() if name == "drawn here" else SHARED_TEXT.read_bytes()
    low, middle, high = (full_psnr(data, quality) for quality in (25, 50, 100))
    assert middle > low + 1.5
    assert high > middle + 2
    assert high > 36


def test_and_on_cream_paper():
    low, high = (full_psnr(text("#faf6ec"), quality) for quality in (25, 100))
    assert high > low + 1.5
    assert high > 31
