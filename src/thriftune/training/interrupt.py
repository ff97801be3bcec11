"""How a signal ends a run in an orderly way.

The first SIGINT or SIGTERM sets a flag that the loop looks at after each step; GRACE_SECONDS later
an alarm interrupts whatever still runs; the second signal exits at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from thriftune.errors import InterruptedRunError

GRACE_SECONDS, CLOSING_SECONDS = 8, 2
EXIT_CODE = InterruptedRunError.exit_code


class StopFlag:
    """Set by the first signal; `check` raises InterruptedRunError once it is set."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._deadline = 0.0
        self._seen, self._stopped_seconds = time.monotonic(), 0.0

    def seconds_left(self) -> float | None:
        """What is left of the grace after a signal, less what closing takes; None without a signal."""
        if self.signal_name is None:
            return None
        return max(0.0, self._deadline - CLOSING_SECONDS - time.monotonic())

    def check(self) -> None:
        """Raise where a signal asked for the end."""
        self._seen = time.monotonic()
        if self.signal_name is not None:
            raise InterruptedRunError(
                f"stopped by {self.signal_name}; what is done is kept",
                remedy="the same command goes on where this one stopped.",
            )

    def clock(self) -> float:
        """Seconds, as of time.monotonic, without those in which the process was stopped (SIGSTOP, Ctrl-Z). Of
        the step in which that came, the seconds before it are left out too."""
        self._seen = time.monotonic()
        return self._seen - self._stopped_seconds

    def _on_continue(self, number: int, frame: FrameType | None) -> None:
        seen, self._seen = self._seen, time.monotonic()
        self._stopped_seconds += self._seen - seen

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is not None:
            os._exit(EXIT_CODE)
        self.signal_name = signal.Signals(number).name
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.alarm(GRACE_SECONDS)
        self._deadline = time.monotonic() + GRACE_SECONDS

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        self.check()


@contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """Install the handlers for the block; in another thread than the main one, a flag nobody sets."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before: dict[int, Any] = {
        number: signal.signal(number, flag._on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    before[signal.SIGCONT] = signal.signal(signal.SIGCONT, flag._on_continue)
    try:
        yield flag
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
