"""Going through many pictures, and the measurement of rate and quality; shielding.py has those that need models.

A picture that cannot be read is reported and left out; nothing else stops a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from psic_cli import turns, zoo
from psic_cli.errors import InputError
from psic_cli.evaluation import bd_rate, peers, rate_distortion
from psic_cli.evaluation.cache import Cache
from psic_cli.evaluation.coding import USUAL, Making, warm_up
from psic_cli.evaluation.metrics import Interval, average
from psic_cli.evaluation.sources import read_rgb
from psic_cli.picture import Pixels
from psic_cli.shell.parallel import in_order

Found = TypeVar("Found")
Work = Callable[[int, Pixels], Found]  # told a picture's number and its pixels


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Watch:
    """Who wants to know how far a run is. advance: after each picture, and whether it took any work. failed: for each
    picture that is left out.
    """

    advance: Callable[[bool], object] = _nothing
    failed: Callable[[InputError], object] = _nothing


@dataclass(frozen=True)
class PeerSummary:
    """A peer with one setting, means over the pictures; ms_ssim over those that are large enough, None if none is."""

    peer: str
    setting: dict[str, object]
    bpp: Interval
    psnr: Interval
    ms_ssim: Interval | None = None


@dataclass(frozen=True)
class RateDistortion:
    """Rate and quality of a folder. bd_rates: of the full version against each peer and each published curve.

    notes: what was not compared, and why.
    """

    summaries: list[rate_distortion.Summary]
    peers: list[PeerSummary]
    bd_rates: list[bd_rate.BdRate]
    notes: list[str]
    pictures: list[rate_distortion.Measured]


def measure_rate_distortion(
    paths: Sequence[Path],
    folder: Path,
    model: zoo.Model,
    qualities: Sequence[int],
    compared: Sequence[peers.Peer] = (),
    watch: Watch | None = None,
    cache: Cache | None = None,
    making: Making = USUAL,
) -> RateDistortion:
    """Pictures below `folder` in every quality, and along the curve of every peer. making: of psic's files."""
    kept = cache or Cache()

    def work(number: int, rgb: Pixels) -> tuple[list[rate_distortion.Measured], list[peers.PeerPoint]]:
        name = paths[number].relative_to(folder).as_posix() if paths[number] != folder else folder.name
        measured = rate_distortion.measure(name, rgb, model, qualities, kept, making)
        return measured, [point for peer in compared for point in peers.measure(name, rgb, peer, kept)]

    warm_up(model)
    found = each(paths, work, watch or Watch(), kept)  # one by one, as seconds are measured too
    rows = [row for measured, _ in found.values() for row in measured]
    points = [point for _, of_peers in found.values() for point in of_peers]
    summaries = rate_distortion.summarise(rows)
    curves = {
        peer.name: _peer_curve([p for p in points if p.peer == peer.name], len(peer.settings)) for peer in compared
    }
    bd_rates, notes = _compare(rows, qualities, curves)
    return RateDistortion(summaries, _summarise_peers(compared, points), bd_rates, notes, rows)


def each(
    paths: Sequence[Path], work: Work[Found], watch: Watch, cache: Cache, at_once: int = 1, device: str = "cpu"
) -> dict[int, Found]:
    """Read and measure pictures; what was found of those that could be, by their numbers, in order. InputError if none
    could.

    cache: tells whether there was anything to do. at_once: pictures in work at the same time, on `device`.
    """
    at_once = min(at_once, len(paths))  # a picture that is alone has all threads

    def attempt(number: int) -> tuple[Found | InputError, bool]:
        before = cache.missed
        try:
            rgb = read_rgb(paths[number])
            with turn(rgb.shape[0] * rgb.shape[1]):
                return work(number, rgb), cache.missed > before
        except InputError as error:
            return error, cache.missed > before

    found: dict[int, Found] = {}
    with turns.sharing(at_once, device) as turn:
        for number, (result, worked) in enumerate(in_order(attempt, len(paths), at_once)):
            if isinstance(result, InputError):
                watch.failed(result)
            else:
                found[number] = result
            watch.advance(worked)
    if not found:
        raise InputError(f"none of {len(paths)} pictures could be measured")
    return found


def _compare(
    rows: Sequence[rate_distortion.Measured], qualities: Sequence[int], curves: Mapping[str, bd_rate.Curve]
) -> tuple[list[bd_rate.BdRate], list[str]]:
    """BD-rates of the full version, and why some are missing."""
    names = list(dict.fromkeys(row.picture for row in rows))
    anchors, notes = dict(curves), []
    if bd_rate.is_kodak(names):
        published, conditions = bd_rate.published_curves()
        anchors |= {f"{curve.name} (published)": curve.curve for curve in published}
        notes.append(f"published curves: {conditions}")
    else:
        notes.append("not compared with published curves, which hold for the 24 Kodak pictures alone")
    if anchors and len(qualities) < 2:
        return [], [*notes, "no BD-rates: they need two qualities or more"]
    of = {(row.picture, row.quality): row for row in rows}
    ordered = [[of[name, quality] for quality in qualities] for name in names]
    own = bd_rate.curve_of(
        [[r.bpp for r in line] for line in ordered], [[r.psnr["full"] for r in line] for line in ordered]
    )
    results = []
    for name, anchor in anchors.items():
        result = bd_rate.compare(name, anchor, own)
        if result is None:
            notes.append(f"no BD-rate against {name}: the curves have no PSNR range in common")
        else:
            results.append(result)
    return results, notes


def _peer_curve(points: Sequence[peers.PeerPoint], settings: int) -> bd_rate.Curve:
    bpp, psnr = (np.array([getattr(p, key) for p in points]).reshape(-1, settings) for key in ("bpp", "psnr"))
    return bd_rate.Curve(bpp, psnr)


def _summarise_peers(compared: Sequence[peers.Peer], points: Sequence[peers.PeerPoint]) -> list[PeerSummary]:
    summaries = []
    for peer in compared:
        for number, setting in enumerate(peer.settings):
            of_setting = [point for point in points if (point.peer, point.setting) == (peer.name, number)]
            similar = [point.ms_ssim for point in of_setting if point.ms_ssim is not None]
            summaries.append(
                PeerSummary(
                    peer=peer.name,
                    setting=dict(setting),
                    bpp=average([point.bpp for point in of_setting]),
                    psnr=average([point.psnr for point in of_setting]),
                    ms_ssim=average(similar) if similar else None,
                )
            )
    return summaries
