"""Send journals to MLflow from a thread; a failing store never disturbs training."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from thriftune import files
from thriftune.databases.health import REBUILD, is_damaged, is_file_damaged
from thriftune.databases.sqlite import SQLITE
from thriftune.errors import DamageError, first_line
from thriftune.tracking.backoff import wait_seconds
from thriftune.tracking.cursor import Cursor, line_checksum, read_cursor, unsent, write_cursor
from thriftune.tracking.footprint import growth_bytes
from thriftune.tracking.mlflow_store import MlflowSink, StoreGoneError
from thriftune.tracking.records import KILLED, run_status

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
"""How long rows are gathered before they are sent together."""
BACKLOG_BYTES = 100_000_000
"""Size of what a store has not taken, above which a warning is logged, once."""
LAST_TRIES = 3
"""Failures in a row after which a closing sender leaves the rest to the next run."""


@dataclass(frozen=True)
class Delivery:
    """One journal, and what opens its run in a store."""

    journal: Path
    open_run: Callable[[MlflowSink], tuple[str, str]]
    """Finds or creates the runs of the study and of the trial; returns their ids."""
    on_done: Callable[[MlflowSink, str], None] = lambda sink, run_id: None
    """Called with the id of the trial's run once all rows of a trial that has ended are there."""


@dataclass
class PendingJournal:
    """A journal that is being sent: how much of it was, and the status that ends its run."""

    delivery: Delivery
    cursor: Cursor
    run_id: str | None = None
    status: str | None = None
    """The status to set once all rows are there; None while the trial runs."""
    done: bool = False
    """Whether all of it is there, the status included."""

    def send(self, sink: MlflowSink) -> int:
        """Send what the store does not have yet.

        A cursor of other runs does not count: the store was recreated, or is a different one, or somebody
        deleted the trial's run. The run that replaces it gets the whole journal. A trial whose journal has an
        end gets the status of that end, whatever happened to the process since, and whoever wrote it.

        Args:
            sink: The open store.

        Returns:
            How many rows were sent.
        """
        requested = self.status  # read before the rows, as the journal's end is: rows come before their end
        journal = self.delivery.journal
        if self.run_id is None:
            parent, self.run_id = self.delivery.open_run(sink)
            if (self.cursor.parent, self.cursor.run) != (parent, self.run_id):
                self.cursor = Cursor(self.cursor.uri, parent, run=self.run_id)
        ended = run_status(journal)
        status = requested if ended == KILLED else ended
        rows, end = unsent(journal, self.cursor.sent_bytes)
        if end > self.cursor.sent_bytes:
            # Durable first: a row lost from the journal in a power cut is logged again with a new timestamp.
            files.fsync_path(journal)
        if rows:
            sink.log_rows(self.run_id, rows)
        if end > self.cursor.sent_bytes:
            self.cursor = replace(self.cursor, sent_bytes=end, last_line=line_checksum(journal, end))
            write_cursor(journal, self.cursor)
        if status is not None:
            self.delivery.on_done(sink, self.run_id)
            sink.finish(self.run_id, status)
            self.done = True
            if ended != KILLED:
                write_cursor(journal, replace(self.cursor, closed=True))
        return len(rows)


PendingSource = Callable[[MlflowSink], Iterable[tuple[Delivery, str]]]
"""Lists the journals, each with its status, that a store does not have to their end."""


def _nothing(sink: MlflowSink) -> Iterable[tuple[Delivery, str]]:
    return ()


class Sender:
    """A thread that sends any number of journals, in the order in which they were given."""

    def __init__(
        self, connect: Callable[[], MlflowSink], uri: str, pending: PendingSource = _nothing
    ) -> None:
        """Start the thread.

        Args:
            connect: Opens the store; called again after a failure.
            uri: The store's.
            pending: Called after each connection for the journals of earlier processes.
        """
        self._connect, self._uri, self._pending = connect, uri, pending
        self._sink: MlflowSink | None = None
        self._journals: dict[Path, PendingJournal] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._failures = 0
        self.is_gone = self._warned = False
        """is_gone: the store was deleted; the rows that it had are in the journals only."""
        self._thread = threading.Thread(target=self._work, name="metric-sender", daemon=True)
        self._thread.start()

    def watch(self, delivery: Delivery, status: str | None = None) -> None:
        """Send a journal from now on, from where the store has it.

        Args:
            delivery: The journal.
            status: As for `finish`. None: the trial runs.
        """
        pending = PendingJournal(delivery, read_cursor(delivery.journal, self._uri), status=status)
        with self._lock:
            self._journals[delivery.journal] = pending
        self._wake.set()

    def finish(self, journal: Path, status: str) -> None:
        """Set the run's status once all of the journal was sent.

        Args:
            journal: Path of the journal.
            status: FINISHED, FAILED or KILLED; the end that is in the journal takes precedence.
        """
        with self._lock:
            if journal in self._journals:
                self._journals[journal].status = status
        self._wake.set()

    def forget(self, journal: Path) -> None:
        """Stop sending a journal: another process has taken it over.

        Args:
            journal: Path of the journal.
        """
        with self._lock:
            self._journals.pop(journal, None)

    def promised_bytes(self) -> int:
        """Return the bytes by which a SQLite store will still grow; 0 for a server.

        These are the rows that are not sent, and the tables of a store that does not exist yet.
        """
        if not self._uri.startswith(SQLITE):
            return 0
        return growth_bytes(Path(self._uri.removeprefix(SQLITE)), self._waiting_bytes())

    def _waiting_bytes(self) -> int:
        with self._lock:
            journals = list(self._journals.values())
        return sum(
            pending.delivery.journal.stat().st_size - pending.cursor.sent_bytes
            for pending in journals
            if pending.delivery.journal.exists()
        )

    def close(self, timeout_seconds: float) -> int:
        """Send what is left while the store answers, and end the thread.

        Args:
            timeout_seconds: How long this may take.

        Returns:
            How many rows are not sent.
        """
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_seconds)
        with self._lock:
            journals = dict(self._journals)
        left = 0
        for path, pending in journals.items():
            try:
                left += len(unsent(path, pending.cursor.sent_bytes)[0])
            except DamageError as error:
                log.warning("the metrics of %s are not sent: %s", path.parent.name, error)
        return left

    def _work(self) -> None:
        while not self.is_gone:
            self._wake.wait(IDLE_SECONDS)
            self._wake.clear()
            last = self._closing  # read first: what comes during a round needs one more
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
        try:
            if self._sink is None:
                self._open()
            assert self._sink is not None
            self._sink.check_present()
            with self._lock:
                journals = list(self._journals.values())
            for pending in journals:
                self._send(pending, self._sink)
        except Exception as error:
            # Whatever fails in MLflow, the journal has the rows; the next try or run sends them.
            self._note(self._cause(error))
            return False
        if self._failures:
            log.info("MLflow accepts metrics again")
        self._failures = 0
        with self._lock:
            for pending in journals:
                if pending.done:
                    self._journals.pop(pending.delivery.journal, None)
        return True

    def _cause(self, error: Exception) -> Exception:
        """Return the deletion of the store, if that is behind MLflow's error."""
        try:
            if self._sink is not None:
                self._sink.check_present()
        except StoreGoneError as gone:
            return gone
        return error

    def _send(self, pending: PendingJournal, sink: MlflowSink) -> None:
        try:
            pending.send(sink)
        except DamageError as error:
            # The other journals do not wait for this one.
            log.warning("the metrics of %s are not sent: %s", pending.delivery.journal.parent.name, error)
            pending.done = True

    def _open(self) -> None:
        self._sink = self._connect()
        for delivery, status in self._pending(self._sink):
            if delivery.journal not in self._journals:
                self.watch(delivery, status)

    def _is_file_damaged(self) -> bool:
        """Look at the file: MLflow's error does not always name damage, a cut file gives an I/O error."""
        return self._uri.startswith(SQLITE) and is_file_damaged(Path(self._uri.removeprefix(SQLITE)))

    def _note(self, error: Exception) -> None:
        self._failures += 1
        self._sink = None
        with self._lock:
            for pending in self._journals.values():
                pending.run_id = None  # looked up again: the store may come back as a different one
        if isinstance(error, StoreGoneError):
            # MLflow keeps its connections for the life of a process; a new process starts on a new store.
            self.is_gone = True
            log.warning("%s", error)
        elif self._failures == 1:
            reason = first_line(error)
            if is_damaged(error) or self._is_file_damaged():
                reason = f"{reason}; the database is damaged: {REBUILD}"
            elif isinstance(error, OSError) and files.is_out_of_space(error):
                reason = f"{reason}: no disk space to record how much was sent"
            log.warning("MLflow does not accept metrics (%s); they are kept in the journals", reason)
        if not self._warned and (waiting := self._waiting_bytes()) >= BACKLOG_BYTES:
            self._warned = True
            log.warning(
                "%.0f MB of metrics in the journals are still to be sent to MLflow",
                waiting / 1e6,
            )
