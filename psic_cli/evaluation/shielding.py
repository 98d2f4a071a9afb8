"""The measurements of what models read: classification, retrieval, and agreement of labels where there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from psic_cli.evaluation import agreement, classification, retrieval, seeing
from psic_cli.evaluation.kinds import CoarseMeaning, Kinds, kind_embeddings, tell_kinds
from psic_cli.evaluation.metrics import Interval, average
from psic_cli.evaluation.robustness import AttackOutcome
from psic_cli.evaluation.runs import Found, Watch, Work, each
from psic_cli.evaluation.sources import Captioned, Labelled
from psic_cli.evaluation.unseen import Classifier
from psic_cli.picture import Pixels
from psic_cli.vlp.interface import VisionLanguageModel

MOST_AT_ONCE = 8  # pictures: the search for each takes some hundred megabytes


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
    shield was never made for (unseen). kinds: the same pictures by kinds in place of classes, if anybody asked.
    """

    versions: list[VersionQuality]
    zero_shot: list[classification.ZeroShot]
    unseen: list[classification.ZeroShot]
    machine: list[classification.MachineGain]
    kinds: CoarseMeaning | None = None


@dataclass(frozen=True)
class ImageTextRetrieval:
    """Retrieval among captioned pictures by each model."""

    versions: list[VersionQuality]
    retrieval: list[retrieval.Retrieval]


def measure_classification(
    labels: Sequence[Labelled],
    class_names: Sequence[str] | None,
    experiment: seeing.Experiment,
    watch: Watch | None = None,
    asked_kinds: Kinds | None = None,
) -> tuple[Classification, list[AttackOutcome]]:
    """What each model takes each version of labelled pictures for. class_names: for models that bring no classes.

    asked_kinds: what vision-language models are asked besides.
    """
    classes = _classes(experiment, class_names)
    texts = {} if asked_kinds is None else _kinds(experiment, asked_kinds)
    for name, embedded in classes.items():
        classification.check_classes([label.class_index for label in labels], embedded, name)
    views = _look([label.path for label in labels], experiment, watch)
    truth = [labels[number].class_index for number in views.kept]
    qualities = experiment.qualities
    result = Classification(_summarise_versions(views, qualities), zero_shot=[], unseen=[], machine=[])
    attacked = []
    for name, seer in experiment.seers.items():
        rows = result.unseen if isinstance(seer, Classifier) else result.zero_shot
        rows += classification.classify(views, name, classes[name], truth, qualities)
        result.machine.extend(classification.machine_gains(views, name, classes[name], truth, qualities))
        attacked += classification.under_attack(views, name, classes[name], truth, qualities, experiment.attacks)
    if asked_kinds is not None:
        result = replace(result, kinds=tell_kinds(views, texts, truth, asked_kinds, qualities))
    return result, attacked


def measure_retrieval(
    rows: Sequence[Captioned],
    experiment: seeing.Experiment,
    vlps: Mapping[str, VisionLanguageModel],
    watch: Watch | None = None,
) -> tuple[ImageTextRetrieval, list[AttackOutcome]]:
    """How each model matches each version of pictures and their captions. vlps: the experiment's seers."""
    owner = [number for number, row in enumerate(rows) for _ in row.captions]
    texts = [text for row in rows for text in row.captions]
    # Before the pictures: a missing text tower is better known now than hours later.
    embedded = {name: vlp.encode_text(texts).detach().float().cpu() for name, vlp in vlps.items()}
    views = _look([row.path for row in rows], experiment, watch)
    view_of = {number: view for view, number in enumerate(views.kept)}
    kept = [place for place, number in enumerate(owner) if number in view_of]
    owners, qualities = [view_of[owner[place]] for place in kept], experiment.qualities
    found, attacked = [], []
    for name in vlps:
        captions = embedded[name][kept]
        found += retrieval.retrieve(views, name, captions, owners, qualities)
        attacked += retrieval.under_attack(views, name, captions, owners, qualities, experiment.attacks)
    return ImageTextRetrieval(_summarise_versions(views, qualities), found), attacked


def measure_agreement(
    paths: Sequence[Path],
    class_names: Sequence[str] | None,
    experiment: seeing.Experiment,
    sides: Sequence[int | None],
    watch: Watch | None = None,
) -> list[agreement.Agreement]:
    """Whether each model gives each version the label of the original, with the pictures at each size."""
    classes = _classes(experiment, class_names)

    def work(number: int, rgb: Pixels) -> dict[int | None, seeing.View]:  # by side
        sizes = ((side, agreement.shrink(rgb, side)) for side in sides)
        return {side: seeing.look(small, experiment) for side, small in sizes if small is not None}

    found = _each(paths, work, experiment, watch)
    views = {side: seeing.Views([seen[side] for seen in found.values() if side in seen]) for side in sides}
    return [
        row
        for name in experiment.seers
        for side in sides
        if views[side].views
        for row in agreement.agree(views[side], name, classes[name], side, experiment.qualities)
    ]


def _classes(experiment: seeing.Experiment, names: Sequence[str] | None) -> dict[str, Tensor]:
    return {name: classification.class_embeddings(seer, names) for name, seer in experiment.seers.items()}


def _kinds(experiment: seeing.Experiment, asked: Kinds) -> dict[str, Tensor]:
    """By model, those without a text tower left out."""
    readers = {n: cast(VisionLanguageModel, s) for n, s in experiment.seers.items() if not isinstance(s, Classifier)}
    return {name: kind_embeddings(vlp, asked) for name, vlp in readers.items()}


def _look(paths: Sequence[Path], experiment: seeing.Experiment, watch: Watch | None) -> seeing.Views:
    found = _each(paths, lambda _, rgb: seeing.look(rgb, experiment), experiment, watch)
    return seeing.Views(list(found.values()), list(found))


def _each(
    paths: Sequence[Path], work: Work[Found], experiment: seeing.Experiment, watch: Watch | None
) -> dict[int, Found]:
    """As many pictures at the same time as torch has threads: one that is small leaves most of them idle."""
    at_once = min(torch.get_num_threads(), MOST_AT_ONCE)
    return each(paths, work, watch or Watch(), experiment.cache, at_once, experiment.model.device)


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
