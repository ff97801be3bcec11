"""Adds up the seconds that a kind of work takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class Stopwatch:
    """Runs in `with` blocks, which do not overlap; `seconds` is the sum."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = 0.0
        self._clock, self._started_at = clock, 0.0

    def __enter__(self) -> Self:
        self._started_at = self._clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds += self._clock() - self._started_at

    def over(self, items: Iterator[T]) -> Iterator[T]:
        """The items, none of them None; the watch runs while one is made, not while it is used."""
        while True:
            with self:
                item = next(items, None)
            if item is None:
                return
            yield item
