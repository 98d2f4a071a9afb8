"""The three measurements over many pictures: rate and quality, zero-shot classification, retrieval.

Each holds one picture at a time. A picture that cannot be read is reported and left out; nothing else stops a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from psic_cli import zoo
from psic_cli.errors import InputError
from psic_cli.evaluation import bd_rate, classification, peers, rate_distortion, retrieval, seeing
from psic_cli.evaluation.coding import warm_up
from psic_cli.evaluation.metrics import Interval, average
from psic_cli.evaluation.sources import Captioned, Labelled, read_rgb
from psic_cli.picture import Pixels
from psic_cli.vlp.interface import VisionLanguageModel


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Watch:
    """Who wants to know how far a run is. advance: after each picture. failed: for each picture that is left out."""

    advance: Callable[[], object] = _nothing
    failed: Callable[[InputError], object] = _nothing


@dataclass(frozen=True)
class PeerSummary:
    """A peer with one setting, means over the pictures."""

    peer: str
    setting: dict[str, object]
    bpp: Interval
    psnr: Interval


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


@dataclass(frozen=True)
class VersionQuality:
    """What the pictures of a shielding measurement cost and lost."""

    version: str
    quality: int
    bpp: Interval
    psnr: Interval


@dataclass(frozen=True)
class Classification:
    """Classification of labelled pictures: zero-shot by each vision-language model, and by plain classifiers that the
    shield was never made for (unseen).
    """

    versions: list[VersionQuality]
    zero_shot: list[classification.ZeroShot]
    unseen: list[classification.ZeroShot] = field(default_factory=list)
    machine: list[classification.MachineGain] = field(default_factory=list)


@dataclass(frozen=True)
class ImageTextRetrieval:
    """Retrieval among captioned pictures by each model."""

    versions: list[VersionQuality]
    retrieval: list[retrieval.Retrieval]


def measure_rate_distortion(
    paths: Sequence[Path],
    folder: Path,
    model: zoo.Model,
    qualities: Sequence[int],
    compared: Sequence[peers.Peer] = (),
    watch: Watch | None = None,
) -> RateDistortion:
    """Pictures below `folder` in every quality, and along the curve of every peer."""
    rows: list[rate_distortion.Measured] = []
    points: list[peers.PeerPoint] = []

    def work(number: int, rgb: Pixels) -> None:
        name = paths[number].relative_to(folder).as_posix() if paths[number] != folder else folder.name
        measured = rate_distortion.measure(name, rgb, model, qualities)
        points.extend(point for peer in compared for point in peers.measure(name, rgb, peer))
        rows.extend(measured)

    warm_up(model)
    _each(paths, work, watch or Watch())
    summaries = rate_distortion.summarise(rows)
    curves = {
        peer.name: _peer_curve([p for p in points if p.peer == peer.name], len(peer.settings)) for peer in compared
    }
    bd_rates, notes = _compare(rows, qualities, curves)
    return RateDistortion(summaries, _summarise_peers(compared, curves), bd_rates, notes, rows)


def measure_classification(
    labels: Sequence[Labelled],
    class_names: Sequence[str] | None,
    model: zoo.Model,
    qualities: Sequence[int],
    vlps: Mapping[str, VisionLanguageModel],
    watch: Watch | None = None,
) -> Classification:
    """What each model takes each version of labelled pictures for. class_names: for models that bring no classes."""
    classes = {name: classification.class_embeddings(vlp, class_names) for name, vlp in vlps.items()}
    for name, embedded in classes.items():
        classification.check_classes([label.class_index for label in labels], embedded, name)
    views = _look([label.path for label in labels], model, qualities, vlps, watch)
    truth = [labels[number].class_index for number in views.kept]
    zero_shot = [row for name in vlps for row in classification.classify(views, name, classes[name], truth, qualities)]
    return Classification(_summarise_versions(views, qualities), zero_shot)


def measure_retrieval(
    rows: Sequence[Captioned],
    model: zoo.Model,
    qualities: Sequence[int],
    vlps: Mapping[str, VisionLanguageModel],
    watch: Watch | None = None,
) -> ImageTextRetrieval:
    """How each model matches each version of pictures and their captions."""
    owner = [number for number, row in enumerate(rows) for _ in row.captions]
    texts = [text for row in rows for text in row.captions]
    # Before the pictures: a missing text tower is better known now than hours later.
    embedded = {name: vlp.encode_text(texts).detach().float().cpu() for name, vlp in vlps.items()}
    views = _look([row.path for row in rows], model, qualities, vlps, watch)
    view_of = {number: view for view, number in enumerate(views.kept)}
    kept = [place for place, number in enumerate(owner) if number in view_of]
    owners = [view_of[owner[place]] for place in kept]
    found = [row for name in vlps for row in retrieval.retrieve(views, name, embedded[name][kept], owners, qualities)]
    return ImageTextRetrieval(_summarise_versions(views, qualities), found)


def _each(paths: Sequence[Path], work: Callable[[int, Pixels], None], watch: Watch) -> list[int]:
    """Read and measure one picture after the other; the numbers of those that could be."""
    kept = []
    for number, path in enumerate(paths):
        try:
            work(number, read_rgb(path))
            kept.append(number)
        except InputError as error:
            watch.failed(error)
        watch.advance()
    if not kept:
        raise InputError(f"none of {len(paths)} pictures could be measured")
    return kept


def _look(
    paths: Sequence[Path],
    model: zoo.Model,
    qualities: Sequence[int],
    vlps: Mapping[str, VisionLanguageModel],
    watch: Watch | None,
) -> seeing.Views:
    views: list[seeing.View] = []

    def work(number: int, rgb: Pixels) -> None:
        views.append(seeing.look(rgb, model, qualities, vlps))

    kept = _each(paths, work, watch or Watch())
    return seeing.Views(views, kept)


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


def _summarise_peers(compared: Sequence[peers.Peer], curves: Mapping[str, bd_rate.Curve]) -> list[PeerSummary]:
    return [
        PeerSummary(peer.name, dict(setting), average(curve.bpp[:, number]), average(curve.psnr[:, number]))
        for peer in compared
        for curve in [curves[peer.name]]
        for number, setting in enumerate(peer.settings)
    ]


def _summarise_versions(views: seeing.Views, qualities: Sequence[int]) -> list[VersionQuality]:
    return [
        VersionQuality(
            version=version.value,
            quality=quality,
            bpp=average([view.bpp[quality] for view in views.views]),
            psnr=average([view.psnr[quality, version.value] for view in views.views]),
        )
        for quality in qualities
        for version in seeing.VERSIONS
    ]
