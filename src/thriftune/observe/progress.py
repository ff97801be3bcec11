"""Progress of what takes long: a live line where there is a terminal, a plain one in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from thriftune.units import human_seconds

log = logging.getLogger(__name__)
Item = TypeVar("Item")

LINE_SECONDS = 30.0
"""Between two lines of the log."""


def eta_seconds(taken: Sequence[float], left: int) -> float:
    """Return the seconds that further trials will take.

    It is a weighted mean of what trials took, the n-th with weight n: the first ones run before the pruner
    may stop any, and the sampler moves to better configurations, which may be larger.

    Args:
        taken: Seconds of each trial before, in order; empty: nothing is known, the result is 0.
        left: Number of further trials.
    """
    if not taken:
        return 0.0
    weights = range(1, len(taken) + 1)
    return left * sum(n * seconds for n, seconds in zip(weights, taken, strict=True)) / sum(weights)


def counted(
    items: Iterable[Item],
    done: str,
    total: int,
    first: int = 0,
    *,
    bar: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Count posts as they are processed: on a terminal under a bar, in the log every LINE_SECONDS.

    Args:
        items: The posts that are left.
        done: What happens to each, as in "aligned 1,000 of 2,000 posts".
        total: Number of all posts.
        first: Number of posts that were processed before, by a process that was interrupted.
        bar: False: no bar, whatever the terminal.
        clock: Seconds now, from any start.

    Yields:
        The items.
    """
    console = Console(stderr=True)
    live = None
    if bar and console.is_terminal:
        live = Progress(
            TextColumn(f"{done} {{task.completed:,}} of {{task.total:,}} posts"),
            BarColumn(bar_width=None),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            expand=True,
        )
        task = live.add_task(done, total=total, completed=first)
        live.start()
    if first:
        log.info("resuming after %s of %s posts", f"{first:,}", f"{total:,}")
    started = logged = clock()
    try:
        for number, item in enumerate(items, start=first + 1):
            yield item
            if live is not None:
                live.update(task, completed=number)
            if number % 64 == 0 and (now := clock()) - logged >= LINE_SECONDS:
                logged = now
                left = (now - started) / (number - first) * (total - number)
                log.info(
                    "%s %s of %s posts; about %s left", done, f"{number:,}", f"{total:,}", human_seconds(left)
                )
    finally:
        if live is not None:
            live.stop()
