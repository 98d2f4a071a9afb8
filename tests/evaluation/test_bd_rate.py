import numpy as np
import pytest

from psic_cli.evaluation.bd_rate import Curve, bd_rate, compare, is_kodak, published_curves
from tests.evaluation.conftest import known

RATES = np.array([0.1, 0.2, 0.4, 0.8])
QUALITIES = np.array([28.0, 31.0, 34.0, 37.0])

pytest.importorskip("bjontegaard")


def test_a_codec_that_needs_half_the_rate_everywhere():
    percent, low, high = known(bd_rate(Curve(RATES, QUALITIES), Curve(RATES / 2, QUALITIES)))
    assert percent == pytest.approx(-50)
    assert (low, high) == (28, 37)


def test_it_is_the_integral_between_the_curves():
    """Bjontegaard's definition, with interpolation and integration by scipy."""
    interpolate = pytest.importorskip("scipy.interpolate")
    test = Curve(np.array([0.08, 0.15, 0.33, 0.9]), np.array([27.5, 30.0, 33.2, 38.0]))
    percent, low, high = known(bd_rate(Curve(RATES, QUALITIES), test))
    assert (low, high) == (28, 37)
    areas = [
        interpolate.PchipInterpolator(curve.psnr, np.log10(curve.bpp)).integrate(low, high)
        for curve in (test, Curve(RATES, QUALITIES))
    ]
    assert percent == pytest.approx(100 * (10 ** ((areas[0] - areas[1]) / (high - low)) - 1))


def test_points_may_come_in_any_order_and_useless_ones_are_ignored():
    order = np.array([2, 0, 3, 1])
    with_a_worse_one = Curve(np.append(RATES[order], 0.5) * 1.25, np.append(QUALITIES[order], 33.0))
    percent, _, _ = known(bd_rate(Curve(RATES, QUALITIES), with_a_worse_one))
    assert percent == pytest.approx(25)


def test_only_the_common_range_counts():
    percent, low, high = known(bd_rate(Curve(RATES, QUALITIES), Curve(RATES[2:], QUALITIES[2:])))
    assert percent == pytest.approx(0, abs=0.5)  # PCHIP bends a little differently through fewer points
    assert (low, high) == (34, 37)


def test_curves_without_a_common_range_are_not_compared():
    assert bd_rate(Curve(RATES, QUALITIES), Curve(RATES, QUALITIES + 10.0)) is None
    assert compare("far", Curve(RATES, QUALITIES), Curve(RATES[None], QUALITIES[None] + 10.0)) is None


def test_a_single_point_is_not_compared():
    assert bd_rate(Curve(RATES, QUALITIES), Curve(RATES[:1], QUALITIES[:1])) is None


def test_pictures_that_differ_between_themselves_but_not_between_codecs_give_a_narrow_interval():
    shifts = np.array([-3.0, 0.0, 1.0, 4.0])[:, None]
    peer = Curve(np.tile(RATES, (4, 1)) * (2 + shifts / 4), QUALITIES + shifts)
    ours = Curve(peer.bpp * 0.8, peer.psnr)
    result = known(compare("peer", peer, ours))
    assert result.percent.value == pytest.approx(-20)
    assert result.percent.low == pytest.approx(-20)
    assert result.percent.high == pytest.approx(-20)
    assert result.share == pytest.approx(1)


def test_published_curves_give_the_published_figures():
    """Against VTM and bmshj2018-hyperprior, over the whole curves, by an independent computation."""
    curves, conditions = published_curves()
    by_name = {curve.name: curve.curve for curve in curves}
    expected = {
        "JPEG": (208.5, 122.2),
        "WebP": (78.7, 39.7),
        "BPG 4:4:4": (22.0, -3.8),
        "AV1": (16.2, -10.6),
        "bmshj2018-factorized": (68.1, 26.8),
        "bmshj2018-hyperprior": (30.5, 0.0),
        "mbt2018-mean": (21.3, -6.8),
        "ELIC": (-7.0, -29.3),
    }
    for name, figures in expected.items():
        measured = [known(bd_rate(by_name[anchor], by_name[name]))[0] for anchor in ("VTM", "bmshj2018-hyperprior")]
        assert measured == pytest.approx(figures, abs=0.06)
    assert "Kodak" in conditions
    assert all(curve.source for curve in curves)


def test_published_curves_are_for_the_24_kodak_pictures():
    names = [f"kodak/kodim{number:02d}.png" for number in range(1, 25)]
    assert is_kodak(names)
    assert not is_kodak(names[:-1])
    assert not is_kodak([*names, "other.png"])
