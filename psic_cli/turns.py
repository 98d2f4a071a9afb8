"""Which pictures of a batch are computed at the same time, and with how many threads each.

One picture leaves most of several cores idle: Python and the range coder have one thread, and the layers of small
pictures are too short to be divided. So cores are given to pictures first, and to their layers with what is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from psic_cli import zoo

MOST_PIXELS = 32_000_000  # computed at the same time, so that memory is bounded; a larger picture is alone

# Entered while a network computes; told the number of pixels.
Turn = Callable[[int], AbstractContextManager[object]]


class Turns:
    """Lets so many pictures compute at the same time, as long as they are small; first come, first served.

    pictures: how many, or what tells it when the first comes.
    """

    def __init__(self, pictures: int | Callable[[], int] = 1) -> None:
        self._most, self._pictures, self._pixels = pictures, 0, 0
        self._queue, self._changed = threading.Lock(), threading.Condition()

    @contextmanager
    def __call__(self, pixels: int) -> Iterator[None]:
        with self._queue, self._changed:  # of those that wait only the first looks whether there is room
            self._changed.wait_for(lambda: self._has_room(pixels))
            self._pictures, self._pixels = self._pictures + 1, self._pixels + pixels
        try:
            yield
        finally:
            with self._changed:
                self._pictures, self._pixels = self._pictures - 1, self._pixels - pixels
                self._changed.notify_all()

    def _has_room(self, pixels: int) -> bool:
        if callable(self._most):
            self._most = self._most()
        if not self._pictures:
            return True
        return self._pictures < self._most and self._pixels + pixels <= MOST_PIXELS


@contextmanager
def sharing(pictures: int, device: str) -> Iterator[Turns]:
    """Turns for so many pictures in work at the same time, which divide torch's threads among them from the first turn
    on: before it, torch is not needed. On a GPU, which one picture keeps busy, they are computed one by one. device:
    auto, cpu or cuda.
    """
    whole = 0

    def at_once() -> int:
        nonlocal whole
        on_cpu = zoo.choose_device(device) == "cpu"
        import torch

        whole = torch.get_num_threads()
        shared = min(pictures, whole) if on_cpu else 1
        torch.set_num_threads(whole // shared)
        return shared

    try:
        yield Turns(at_once)
    finally:
        if whole:
            import torch

            torch.set_num_threads(whole)
