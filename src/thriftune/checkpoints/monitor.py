"""A thread that looks at the free disk while training computes."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from thriftune.checkpoints.store import CheckpointStore

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0


class DiskMonitor:
    """Prunes what is unprotected when another process takes the free space below the watermark.

    It does so for the time of a `with` block, in a thread that training does not wait for.
    """

    def __init__(
        self,
        store: CheckpointStore,
        interval: float = INTERVAL_SECONDS,
        closing: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Prepare the thread.

        Args:
            store: The store.
            interval: Seconds between two looks at the disk.
            closing: Returns how many seconds the end of the block waits for what is being pruned; None: until
                it is.
        """
        self._store, self._interval, self._closing = store, interval, closing
        self._stop = threading.Event()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._watch,), name="disk-monitor", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        # After a signal it may still wait for its turn; what it deletes then a kill may leave half done too.
        self._thread.join(self._closing())

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._store.prune_if_disk_low()
            except Exception as error:
                # The next save fails the same way, where the study can stop; keep monitoring.
                log.warning("the disk monitor could not prune: %s", error)
