"""The alpha plane as PNG: lossless, and anything else in its place is refused."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from psic_cli.alpha import alpha_from_png, alpha_to_png
from psic_cli.errors import FormatError

PLANE = (np.arange(12 * 17).reshape(12, 17) * 7 % 256).astype(np.uint8)


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 255))
def test_a_plane_comes_back(width, height, value):
    plane = (np.arange(height * width).reshape(height, width) * value % 256).astype(np.uint8)
    assert (alpha_from_png(alpha_to_png(plane), width, height) == plane).all()


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(PLANE[:, 1:])),
        saved(Image.fromarray(PLANE.T)),
        saved(Image.fromarray(PLANE).convert("RGB")),
        saved(Image.fromarray(PLANE).convert("LA")),
        saved(Image.fromarray(PLANE).convert("1")),
        saved(Image.fromarray(PLANE.astype(np.uint16))),
        saved(Image.fromarray(PLANE), "GIF"),
        alpha_to_png(PLANE)[:-30],
        b"",
    ],
    ids=["narrower", "transposed", "rgb", "with-alpha", "one-bit", "sixteen-bit", "gif", "cut", "empty"],
)
def test_what_is_not_this_plane_is_refused(data):
    with pytest.raises(FormatError, match="alpha plane"):
        alpha_from_png(data, 17, 12)


@given(st.data())
def test_damage_gives_a_plane_or_a_clear_error(data):
    png = bytearray(alpha_to_png(PLANE))
    for _ in range(data.draw(st.integers(1, 4))):
        png[data.draw(st.integers(0, len(png) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        assert alpha_from_png(bytes(png), 17, 12).shape == PLANE.shape


@pytest.mark.filterwarnings("error")
def test_a_large_plane_is_no_reason_to_refuse(monkeypatch):
    """Its size is the header's, which has been held against the decoder's own limit; Pillow's lower one is no help."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert (alpha_from_png(alpha_to_png(PLANE), 17, 12) == PLANE).all()
