"""Coarse meaning: whether a model still tells a dog from a vehicle, where it is asked for kinds instead of classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from psic_cli.errors import InputError
from psic_cli.evaluation.classification import PROMPT, ZeroShot, classify
from psic_cli.evaluation.seeing import Views
from psic_cli.evaluation.sources import read_text
from psic_cli.shell.terminal import name_of
from psic_cli.vlp.imagenet import imagenet_classes, imagenet_kinds
from psic_cli.vlp.interface import VisionLanguageModel

IMAGENET = "imagenet"  # names the ten kinds that come with psic
_NUMBERS = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


@dataclass(frozen=True)
class Kinds:
    """names: of the kinds. of_class: the number of a class's kind, by the number of the class; some have none."""

    names: tuple[str, ...]
    of_class: Mapping[int, int]


@dataclass(frozen=True)
class CoarseMeaning:
    """Zero-shot classification among kinds, of the pictures whose class has one. chance: of a right guess."""

    names: tuple[str, ...]
    chance: float
    zero_shot: list[ZeroShot]


def find_kinds(spec: str, class_names: Sequence[str] | None) -> Kinds:
    """Those in a file, or the ten that come with psic ("imagenet"). class_names: None for the ImageNet classes.

    InputError as in `read_kinds`, and for a file that cannot be read.
    """
    names = imagenet_classes() if class_names is None else class_names
    text = imagenet_kinds() if spec == IMAGENET else read_text(Path(spec))
    return read_kinds(text, names, spec if spec == IMAGENET else name_of(spec))


def read_kinds(text: str, class_names: Sequence[str], source: str) -> Kinds:
    """Lines such as "dog: 151-268, poodle": a kind, and its classes by number or by name; # begins a remark.

    A kind may have several lines. class_names: with synonyms after commas. InputError, which names the source, for
    lines of another form, unknown classes, names of several, a class with two kinds, and fewer than two kinds.
    """
    kinds: dict[str, int] = {}
    of_class: dict[int, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        kind, colon, listed = (part.strip() for part in line.partition(":"))
        if not (kind and colon and listed):
            raise InputError(f"{source} line {number}: not of the form KIND: CLASS, CLASS-CLASS, ...")
        own = kinds.setdefault(kind, len(kinds))
        try:
            members = [member for word in listed.split(",") for member in _classes(word.strip(), class_names)]
        except InputError as error:
            raise InputError(f"{source} line {number}: {error}", error.hint) from error
        for member in members:
            if of_class.setdefault(member, own) != own:
                raise InputError(f"{source} line {number}: class {member}, {class_names[member]}, has a kind already")
    if len(kinds) < 2:
        raise InputError(f"{source} has {len(kinds)} kinds, it needs 2 or more")
    return Kinds(tuple(kinds), of_class)


def _classes(word: str, class_names: Sequence[str]) -> list[int]:
    """The numbers of "7", "7-24" or "banjo". A name is the first of a class before it is a synonym of others."""
    if found := _NUMBERS.fullmatch(word):
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < len(class_names):
            raise InputError(f"{word} is not within the {len(class_names)} classes, which are counted from 0")
        return list(range(first, last + 1))
    synonyms = [[name.strip().lower() for name in names.split(",")] for names in class_names]
    named = [number for number, names in enumerate(synonyms) if names[0] == word.lower()]
    named = named or [number for number, names in enumerate(synonyms) if word.lower() in names]
    if not named:
        raise InputError(f"there is no class {word!r}")
    if len(named) > 1:
        raise InputError(f"several classes are called {word!r}", f"use a number: {', '.join(map(str, named))}")
    return named


def kind_embeddings(vlp: VisionLanguageModel, kinds: Kinds) -> Tensor:
    """The kinds in the prompt of classes, as a model's text tower sees them, [kinds, D]."""
    return vlp.encode_text([PROMPT.format(name) for name in kinds.names]).detach().float().cpu()


def tell_kinds(
    views: Views, texts: Mapping[str, Tensor], truth: Sequence[int], kinds: Kinds, qualities: Sequence[int]
) -> CoarseMeaning:
    """All versions in all qualities. texts: `kind_embeddings` by model. truth: class numbers, one for each view.

    InputError where no picture has a kind.
    """
    places = [place for place, number in enumerate(truth) if number in kinds.of_class]
    if not places:
        raise InputError("none of the pictures is of a class that has a kind")
    chosen = Views([views.views[place] for place in places], [views.kept[place] for place in places])
    right = [kinds.of_class[truth[place]] for place in places]
    rows = [row for model, embedded in texts.items() for row in classify(chosen, model, embedded, right, qualities)]
    return CoarseMeaning(kinds.names, 1 / len(kinds.names), rows)
