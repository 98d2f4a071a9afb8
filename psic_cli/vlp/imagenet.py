"""The 1000 classes of ImageNet by name: what a vision-language model is asked to choose from by default."""

from functools import lru_cache
from importlib import resources


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[str, ...]:
    """In the usual order, each with its synonyms after commas: "tench, Tinca tinca"."""
    text = resources.files(__package__).joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
