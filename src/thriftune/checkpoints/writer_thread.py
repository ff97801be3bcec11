"""The thread that writes a checkpoint while training continues."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable


class WriterThread:
    """At most one write in flight, in a thread of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Wait for the write before, then begin this one.

        Args:
            job: Raises nothing.
        """
        self.drain()
        context = contextvars.copy_context()
        # A daemon: who starts a write drains it, and after a signal a stuck one must not hold the process.
        self._thread = threading.Thread(
            target=context.run, args=(job,), name="checkpoint-writer", daemon=True
        )
        self._thread.start()

    def drain(self, seconds: float | None = None) -> bool:
        """Wait until no write is in flight.

        A write that takes longer is abandoned with the process, and the next start removes what it left.

        Args:
            seconds: How long to wait at most; None: until it is done.

        Returns:
            Whether none is in flight.
        """
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)
            if self._thread.is_alive():
                return False
            self._thread = None
        return True
