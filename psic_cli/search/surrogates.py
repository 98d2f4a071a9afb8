"""The models that a shield is searched against: those that come with psic, or whichever an encoder is told."""

from __future__ import annotations

from collections.abc import Sequence

from psic_cli.kept import kept
from psic_cli.vlp.interface import Surrogate, load_vlp

DEFAULTS = ("witness:lite0", "witness:lite1")
BESIDE = "+"  # before a model that is asked beside the default ones


def surrogates_of(specs: Sequence[str], device: str) -> tuple[Surrogate, ...]:
    """The models that specs name (see vlp.interface.load_vlp), each once: in place of the default ones, or, where each
    begins with "+", beside them. None: the default ones. ModelError for what cannot be loaded.
    """
    named = [spec.removeprefix(BESIDE) for spec in specs]
    beside = all(spec.startswith(BESIDE) for spec in specs)
    return _load(tuple(dict.fromkeys([*(DEFAULTS if beside else ()), *named])), device)


@kept(2)
def _load(specs: tuple[str, ...], device: str) -> tuple[Surrogate, ...]:
    import torch

    with torch.inference_mode(mode=False):  # where a host measures in it: gradients will pass through these weights
        return tuple(load_vlp(spec, device) for spec in specs)
