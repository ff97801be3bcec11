"""Carries journals to MLflow from a thread of its own; a failing store never reaches training."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from thriftune.tracking.backoff import wait_seconds
from thriftune.tracking.cursor import Cursor, read_cursor, unsent, write_cursor
from thriftune.tracking.journal import KILLED, run_status
from thriftune.tracking.mlflow_sink import MlflowSink

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
"""Rows are gathered for so long before they are sent together."""


LAST_TRIES = 3
"""Failures in a row after which a closing sender leaves the rest to the next run."""


@dataclass(frozen=True)
class Delivery:
    """One journal, and what opens its run in a sink."""

    journal: Path
    open_run: Callable[[MlflowSink], str]
    on_done: Callable[[MlflowSink], None] = lambda sink: None
    """Called once all rows of a finished trial are there."""


@dataclass
class _State:
    delivery: Delivery
    cursor: Cursor
    run_id: str | None = None
    status: str | None = None
    """The status to set once all rows are there; None while the trial runs."""
    done: bool = False
    """All of it is there, the status included."""


class Sender:
    """Background sender over any number of journals, in the order in which they came."""

    def __init__(self, connect: Callable[[], MlflowSink], uri: str) -> None:
        self._connect, self._uri = connect, uri
        self._sink: MlflowSink | None = None
        self._states: dict[Path, _State] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._failures = 0
        self._thread = threading.Thread(target=self._work, name="metric-sender", daemon=True)
        self._thread.start()

    def watch(self, delivery: Delivery, status: str | None = None) -> None:
        """Carry a journal from now on, from where the store has it; status: as of `finish`."""
        state = _State(delivery, read_cursor(delivery.journal, self._uri), status=status)
        with self._lock:
            self._states[delivery.journal] = state
        self._wake.set()

    def finish(self, journal: Path, status: str) -> None:
        """Set the run's status once all of the journal was sent."""
        with self._lock:
            if journal in self._states:
                self._states[journal].status = status
        self._wake.set()

    def close(self, timeout_seconds: float) -> int:
        """Send what is left while the store answers, at most for so long; rows still unsent."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_seconds)
        with self._lock:
            left = [unsent(path, state.cursor.sent_bytes)[0] for path, state in self._states.items()]
        return sum(len(rows) for rows in left)

    def _work(self) -> None:
        while True:
            self._wake.wait(IDLE_SECONDS)
            self._wake.clear()
            last = self._closing  # read first: what came while a round was under way needs one more
            done = self._send_all()
            if last and (done or self._failures >= LAST_TRIES):
                return
            if self._failures:
                self._pause(wait_seconds(self._failures))
            elif not self._closing:
                time.sleep(IDLE_SECONDS / 2)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._closing:
            time.sleep(0.1)

    def _send_all(self) -> bool:
        with self._lock:
            states = list(self._states.values())
        try:
            if self._sink is None and states:
                self._sink = self._connect()
            for state in states:
                self._send(state)
            self._failures = 0
        except Exception as error:
            # Whatever MLflow does wrong, the journal has the rows; the next try or run sends them.
            self._failures += 1
            self._sink = None
            if self._failures == 1:
                reason = str(error).partition("\n")[0] or type(error).__name__
                log.warning("MLflow does not take the metrics (%s); the journals keep them", reason)
            return False
        with self._lock:
            for state in states:
                if state.done:
                    del self._states[state.delivery.journal]
        return True

    def _send(self, state: _State) -> None:
        assert self._sink is not None
        status = state.status  # read first: rows come before the status that ends them
        if state.run_id is None:
            state.run_id = state.delivery.open_run(self._sink)
        journal = state.delivery.journal
        rows, end = unsent(journal, state.cursor.sent_bytes)
        if rows:
            self._sink.log_rows(state.run_id, rows)
        if end > state.cursor.sent_bytes:
            state.cursor = replace(state.cursor, sent_bytes=end)
            write_cursor(journal, state.cursor)
        if status is not None:
            state.delivery.on_done(self._sink)
            self._sink.finish(state.run_id, status)
            state.done = True
            if run_status(journal) != KILLED:
                write_cursor(journal, replace(state.cursor, closed=True))
