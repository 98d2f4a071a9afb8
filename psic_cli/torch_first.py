"""Loads torch as runtime.py says when it is imported: to be imported before torch itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from psic_cli import runtime

runtime.load_torch()


@contextmanager
def coding(gradients: bool = False) -> Iterator[None]:
    """What torch computes inside has the threads that there are, and needs no gradients. gradients: unless it asks for
    some, which is impossible in torch's inference mode.
    """
    import torch

    runtime.forget_threads_of_parent()
    with torch.inference_mode(not gradients), torch.no_grad():
        yield
