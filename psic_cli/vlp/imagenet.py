"""The 1000 classes of ImageNet by name: what a vision-language model is asked to choose from by default."""

from functools import lru_cache
from importlib import resources


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[str, ...]:
    """In the usual order, each with its synonyms after commas: "tench, Tinca tinca"."""
    return tuple(_text("imagenet_classes.txt").splitlines())


def imagenet_kinds() -> str:
    """Ten kinds of classes, such as dog and vehicle, in the form that evaluation/kinds.py reads."""
    return _text("imagenet_kinds.txt")


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
