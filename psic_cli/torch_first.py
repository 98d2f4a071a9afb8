"""Loads torch as runtime.py says when it is imported: to be imported before torch itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from psic_cli import runtime

runtime.load_torch()


@contextmanager
def coding() -> Iterator[None]:
    """What torch computes inside needs no gradients, and has the threads that there are."""
    import torch

    runtime.forget_threads_of_parent()
    with torch.inference_mode():
        yield
