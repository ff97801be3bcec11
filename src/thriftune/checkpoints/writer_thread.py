"""The thread that writes a checkpoint while training continues."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable


class Writer:
    """At most one write in flight, in a thread of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Wait for the write before, then begin this one. `job` raises nothing."""
        self.drain()
        context = contextvars.copy_context()
        # A daemon: who starts a write drains it, and after a signal a stuck one must not hold the process.
        self._thread = threading.Thread(
            target=context.run, args=(job,), name="checkpoint-writer", daemon=True
        )
        self._thread.start()

    def drain(self, seconds: float | None = None) -> bool:
        """Wait until nothing is in flight, at most for so long; whether nothing is."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)
            if self._thread.is_alive():
                return False
            self._thread = None
        return True
