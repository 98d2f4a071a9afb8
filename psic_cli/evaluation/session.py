"""One run of `psic evaluate`: everything that was asked for, one part after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from psic_cli import zoo
from psic_cli.evaluation import runs, shielding
from psic_cli.evaluation.attacks import Attack
from psic_cli.evaluation.cache import Cache
from psic_cli.evaluation.coding import USUAL, Making
from psic_cli.evaluation.kinds import Kinds
from psic_cli.evaluation.peers import Peer
from psic_cli.evaluation.report import Results
from psic_cli.evaluation.robustness import AttackMatrix, AttackOutcome
from psic_cli.evaluation.seeing import Experiment, Seer
from psic_cli.evaluation.sources import Captioned, Labelled
from psic_cli.vlp.interface import VisionLanguageModel

Watching = Callable[[str, int], AbstractContextManager[runs.Watch]]


@dataclass(frozen=True)
class Questions:
    """What is measured, read and checked; a part that was not asked for is empty.

    paths, folder: rate and quality, and along the curves of compared peers. labels, class_names, kinds: classification.
    captions: retrieval. unlabelled, unlabelled_classes, sides: agreement of labels.
    """

    paths: Sequence[Path] = ()
    folder: Path = Path()
    compared: Sequence[Peer] = ()
    labels: Sequence[Labelled] = ()
    class_names: Sequence[str] | None = None
    kinds: Kinds | None = None
    captions: Sequence[Captioned] = ()
    unlabelled: Sequence[Path] = ()
    unlabelled_classes: Sequence[str] = ()
    sides: Sequence[int | None] = ()


@dataclass(frozen=True)
class Means:
    """What it is measured with. classifiers: networks that were unseen when the shield was made.

    making: of the files.
    """

    model: zoo.Model
    qualities: Sequence[int]
    vlps: Mapping[str, VisionLanguageModel] = field(default_factory=dict)
    classifiers: Mapping[str, Seer] = field(default_factory=dict)
    attacks: Sequence[Attack] = ()
    cache: Cache = field(default_factory=Cache)
    making: Making = USUAL


def measure(questions: Questions, means: Means, results: Results, watching: Watching) -> None:
    """Fill `results`, each part as soon as it is measured, so that what stops a later one costs nothing.

    watching: gives a watch over so many pictures. InputError where none of a part's pictures can be measured.
    """
    model, cache, making = means.model, means.cache, means.making
    seers: dict[str, Seer] = {**means.vlps, **means.classifiers}
    if questions.paths:
        with watching("rate and quality", len(questions.paths)) as watch:
            results.rate_distortion = runs.measure_rate_distortion(
                questions.paths, questions.folder, model, means.qualities, questions.compared, watch, cache, making
            )
    if questions.labels:
        experiment = Experiment(model, means.qualities, seers, means.attacks, cache, making)
        with watching("classification", len(questions.labels)) as watch:
            results.classification, outcomes = shielding.measure_classification(
                questions.labels, questions.class_names, experiment, watch, questions.kinds
            )
        _add(results, means.attacks, outcomes)
    if questions.captions:
        experiment = Experiment(model, means.qualities, means.vlps, means.attacks, cache, making)
        with watching("retrieval", len(questions.captions)) as watch:
            results.retrieval, outcomes = shielding.measure_retrieval(questions.captions, experiment, means.vlps, watch)
        _add(results, means.attacks, outcomes)
    if questions.unlabelled:
        experiment = Experiment(model, means.qualities, seers, (), cache, making)
        with watching("agreement", len(questions.unlabelled)) as watch:
            results.agreement = shielding.measure_agreement(
                questions.unlabelled, questions.unlabelled_classes, experiment, questions.sides, watch
            )


def _add(results: Results, attacks: Sequence[Attack], outcomes: Sequence[AttackOutcome]) -> None:
    if attacks:
        results.attacks = results.attacks or AttackMatrix({attack.name: attack.does for attack in attacks}, [])
        results.attacks.outcomes.extend(outcomes)
