"""A thread that looks at the free disk while training computes."""

from __future__ import annotations

import contextvars
import logging
import threading
from types import TracebackType
from typing import Self

from thriftune.checkpoints.store import CheckpointStore

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
CLOSING_SECONDS = 0.5


class DiskMonitor:
    """For the time of a `with` block: prunes what is unprotected when another process eats the free space
    below the watermark. Training does not wait for it."""

    def __init__(self, store: CheckpointStore, interval: float = INTERVAL_SECONDS) -> None:
        self._store, self._interval = store, interval
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
        # It may wait for other processes, or a server, for its turn; it deletes nothing that a kill may not.
        self._thread.join(CLOSING_SECONDS)

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._store.relieve()
            except Exception as error:
                # The next save meets the same and reports it where the study can stop; the watch goes on.
                log.warning("the disk monitor could not prune: %s", error)
