"""Work in several threads, with results in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

Result = TypeVar("Result")


class _Place(Generic[Result]):
    """What comes of one piece of work: a result, or what it raised."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.result: Result
        self.error: BaseException | None = None


def in_order(work: Callable[[int], Result], count: int, threads: int) -> Generator[Result]:
    """work(0), work(1), ... work(count - 1), whichever of the threads is done first. What one raises comes in its turn.

    Even one has a thread of its own: signals interrupt the main thread, which must not be in the middle of work then.
    Who stops asking waits for nobody: no work is begun any more, and what is being done is left to its thread, a daemon
    that ends with the process.
    """
    places: list[_Place[Result]] = [_Place() for _ in range(count)]
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(count):
        waiting.put(number)
    stopped = threading.Event()

    def labour() -> None:
        while not stopped.is_set():
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            place = places[number]
            try:
                place.result = work(number)
            except BaseException as error:
                place.error = error
            place.done.set()

    labourers = [threading.Thread(target=labour, daemon=True) for _ in range(min(threads, count))]
    for labourer in labourers:
        labourer.start()
    try:
        for place in places:
            while not place.done.wait(1.0):  # a wait without end cannot be interrupted on every system
                pass
            if place.error is not None:
                raise place.error
            yield place.result
        for labourer in labourers:
            labourer.join()
    finally:
        stopped.set()
