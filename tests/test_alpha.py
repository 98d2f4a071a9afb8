"""The alpha plane as PNG: lossless, and anything else in its place is refused."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from psic_cli.alpha import alpha_from_png, alpha_to_png, without_hidden
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


# Hidden colours

RNG = np.random.default_rng(5)


def pictures() -> list[tuple[np.ndarray, np.ndarray]]:
    """Colours and alpha of many shapes: half hidden, a dot visible, a dot hidden, soft edges, odd sizes."""
    dot = np.zeros((33, 50), np.uint8)
    dot[7, 11] = 1
    soft = np.clip(np.add.outer(np.arange(41), np.arange(23)) * 9 - 150, 0, 255).astype(np.uint8)
    half = np.repeat(np.array([[0, 255]], np.uint8), 30, axis=1).repeat(13, axis=0)
    planes = [dot, 1 - dot, soft, half, RNG.integers(0, 2, (9, 64)).astype(np.uint8), PLANE[:1], PLANE[:, :1]]
    return [(RNG.integers(0, 256, (*plane.shape, 3)).astype(np.uint8), plane) for plane in planes]


def test_what_can_be_seen_is_not_touched_and_nothing_is_left_of_what_cannot():
    for rgb, alpha in pictures():
        hidden = alpha == 0
        other = rgb.copy()
        other[hidden] = RNG.integers(0, 256, (int(hidden.sum()), 3))
        one, two = without_hidden(rgb, alpha), without_hidden(other, alpha)
        assert (one[~hidden] == rgb[~hidden]).all()
        assert (one == two).all(), "the same whatever was hidden"


def test_hidden_colours_are_replaced_by_those_around_them():
    colour = np.array([200, 90, 30], np.uint8)
    for rgb, alpha in pictures():
        plain = np.where((alpha > 0)[..., None], colour, rgb)
        assert (without_hidden(plain, alpha) == colour).all()
    left, right = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 240, np.uint8)
    alpha = np.full((64, 192), 255, np.uint8)
    alpha[:, 64:128] = 0
    filled = without_hidden(np.concatenate([left, left, right], axis=1), alpha)[..., 0].astype(int)
    assert (np.diff(filled, axis=1)[:, 60:130] >= 0).all(), "from one side to the other without a way back"
    assert np.diff(filled, axis=1).max() <= 60, "and without a step as large as the one that was hidden"


def test_a_picture_without_hidden_colours_comes_back_as_it_is():
    rgb = np.repeat(PLANE[..., None], 3, axis=2)
    assert (without_hidden(rgb, np.maximum(PLANE, 1)) == rgb).all()


def test_a_picture_in_which_nothing_is_visible_tells_nothing():
    rgb = np.repeat(PLANE[..., None], 3, axis=2)
    assert (without_hidden(rgb, np.zeros_like(PLANE)) == 0).all()
