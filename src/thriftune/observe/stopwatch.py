"""Add up the seconds that a kind of work takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class Stopwatch:
    """A watch that runs in `with` blocks, which must not overlap; `seconds` is the sum."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start at 0 seconds.

        Args:
            clock: Seconds now, from any start.
        """
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
        """Measure how long an iterator takes to make its items, and not how long they are used.

        Args:
            items: The iterator; none of its items is None.

        Yields:
            The items.
        """
        while True:
            with self:
                item = next(items, None)
            if item is None:
                return
            yield item
