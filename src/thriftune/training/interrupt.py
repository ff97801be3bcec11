"""How a signal ends a run in order, and which time counts as training time.

The first SIGINT or SIGTERM sets a flag that the loop looks at after each step. GRACE_SECONDS later an alarm
interrupts whatever still runs. The second signal exits at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from thriftune.errors import InterruptedRunError

GRACE_SECONDS, CLOSING_SECONDS = 8, 2
EXIT_CODE = InterruptedRunError.exit_code


class StopFlag:
    """A flag that the first signal sets, and a clock that stands still while the process is stopped."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._deadline = 0.0
        self._seen, self._stopped_seconds = time.monotonic(), 0.0

    def seconds_left(self) -> float | None:
        """Return what is left of the grace period, less what closing takes; None before a signal."""
        if self.signal_name is None:
            return None
        return max(0.0, self._deadline - CLOSING_SECONDS - time.monotonic())

    def check(self) -> None:
        """Raise if a signal has come.

        Raises:
            InterruptedRunError: A signal has come.
        """
        self._seen = time.monotonic()
        if self.signal_name is not None:
            raise InterruptedRunError(
                f"stopped by {self.signal_name}; completed work is kept",
                remedy="run the same command again to resume where this one stopped.",
            )

    def clock(self) -> float:
        """Return seconds as time.monotonic, without those in which the process was stopped (SIGSTOP, Ctrl-Z).

        What the step in which that happened took before it is left out too.
        """
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
    """Install the handlers for the block; in other threads than the main one the flag is never set.

    Yields:
        The flag.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {
        number: signal.signal(number, flag._on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    before[signal.SIGCONT] = signal.signal(signal.SIGCONT, flag._on_continue)
    try:
        yield flag
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
