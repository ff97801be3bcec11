"""What a run says of its progress: a plain line an epoch, and a live line where there is a terminal."""

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
"""Between two lines of the log about what takes long."""


def eta_seconds(taken: Sequence[float], left: int) -> float:
    """What so many further trials will take, of the seconds that those before took, in order.

    A later trial counts for more, the n-th n times: the first ones run before the pruner may stop any, and
    the sampler moves on to what is better, which may be larger.
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
    """The items; on a terminal under a bar, and in the log how many are done every LINE_SECONDS.

    done: what happens to each, as in "aligned 1,000 of 2,000 posts". first: how many were done before.
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
        log.info("goes on after %s of %s posts", f"{first:,}", f"{total:,}")
    began = said = clock()
    try:
        for number, item in enumerate(items, start=first + 1):
            yield item
            if live is not None:
                live.update(task, completed=number)
            if number % 64 == 0 and (now := clock()) - said >= LINE_SECONDS:
                said = now
                left = (now - began) / (number - first) * (total - number)
                log.info(
                    "%s %s of %s posts; about %s left", done, f"{number:,}", f"{total:,}", human_seconds(left)
                )
    finally:
        if live is not None:
            live.stop()
