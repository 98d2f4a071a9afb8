import sys

import numpy as np
import pytest
from PIL import AvifImagePlugin, Image

from psic_cli.errors import InputError, UsageError
from psic_cli.evaluation import bd_rate, peers
from tests.cli.run import ROOT
from tests.evaluation.conftest import known, picture


class WithDefaults(peers.Peer):
    """A codec as Pillow uses it unless told otherwise."""

    @property
    def settings(self):
        return list(self.points)


def curve(rgb, peer):
    points = peers.measure("a.png", rgb, peer)
    return bd_rate.Curve(np.array([p.bpp for p in points]), np.array([p.psnr for p in points]))


def test_an_unknown_peer_is_refused():
    with pytest.raises(UsageError, match="unknown peer 'gif'") as error:
        peers.find_peers(["jpeg", "gif"])
    assert "jpegxl" in str(error.value.hint)


def test_jpeg_xl_without_its_plug_in_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(UsageError, match="Pillow has no jpegxl without its plug-in") as error:
        peers.find_peers(["jpegxl"])
    assert error.value.hint == "pip install pillow-jxl-plugin"


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "jpeg2000", "jpegxl"])
def test_a_peer_gives_a_curve_that_rises(name):
    try:
        (peer,) = peers.find_peers([name])
    except UsageError as error:
        pytest.skip(str(error))
    points = peers.measure("a.png", picture(2, 170, 161), peer)
    assert [point.setting for point in points] == list(range(len(peer.settings)))
    assert points[0].bpp < points[-1].bpp
    assert points[0].psnr < points[-1].psnr
    assert known(points[0].ms_ssim) < known(points[-1].ms_ssim) <= 1


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "jpeg2000"])
def test_a_peer_is_better_on_a_photo_than_with_the_defaults_of_pillow(name):
    with Image.open(ROOT / "sample_images" / "coffee.png") as photo:
        rgb = np.asarray(photo.convert("RGB").crop((100, 50, 420, 290)))
    try:
        (peer,) = peers.find_peers([name])
    except UsageError as error:
        pytest.skip(str(error))
    found = bd_rate.bd_rate(curve(rgb, WithDefaults(**vars(peer))), curve(rgb, peer))
    assert found is not None
    assert found[0] < -1.5  # percent


def test_avif_does_not_depend_on_the_number_of_processors(monkeypatch):
    (peer,) = peers.find_peers(["avif"])
    few = peers.Peer(**vars(peer) | {"points": peer.points[4:5]})
    found = []
    for processors in (1, 4):
        monkeypatch.setattr(AvifImagePlugin, "DEFAULT_MAX_THREADS", processors)  # what Pillow finds for itself
        found.append(peers.measure("a.png", picture(2, 170, 161), few))
    assert found[0] == found[1]


def test_small_pictures_have_no_ms_ssim():
    (peer,) = peers.find_peers(["jpeg"])
    assert peers.measure("a.png", picture(2, 96, 64), peer)[0].ms_ssim is None


def test_a_picture_that_a_peer_cannot_code_is_an_input_error(monkeypatch):
    (peer,) = peers.find_peers(["webp"])
    with pytest.raises(InputError, match=r"wide\.png: webp cannot code it"):
        peers.measure("wide.png", picture(2, 16384, 1), peer)
