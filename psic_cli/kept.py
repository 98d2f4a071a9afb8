"""functools.lru_cache for what takes seconds to make: of threads that ask for it at the same time one makes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Kept(Generic[P, R]):
    """A function of hashable arguments whose last results stay."""

    def __init__(self, make: Callable[P, R], at_most: int) -> None:
        self._remembered, self._making = lru_cache(maxsize=at_most)(make), threading.Lock()
        update_wrapper(self, make)

    def __call__(self, *arguments: P.args, **options: P.kwargs) -> R:
        with self._making:
            return self._remembered(*arguments, **options)  # type: ignore[arg-type]  # hashable, as said above

    def cache_clear(self) -> None:
        """Forget all results."""
        self._remembered.cache_clear()


def kept(at_most: int) -> Callable[[Callable[P, R]], Kept[P, R]]:
    """Keep the last so many results of the function below."""
    return lambda make: Kept(make, at_most)
