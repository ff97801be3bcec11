"""Carries journals to MLflow from a thread of its own; a failing store never reaches training."""

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
from thriftune.errors import DamageError
from thriftune.tracking.backoff import wait_seconds
from thriftune.tracking.cursor import Cursor, line_checksum, read_cursor, unsent, write_cursor
from thriftune.tracking.footprint import growth_bytes
from thriftune.tracking.mlflow_store import MlflowSink, StoreGoneError
from thriftune.tracking.records import KILLED, run_status

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
"""Rows are gathered for so long before they are sent together."""
BACKLOG_BYTES = 100_000_000
"""Of journals that a store does not take: said once."""
LAST_TRIES = 3
"""Failures in a row after which a closing sender leaves the rest to the next run."""


@dataclass(frozen=True)
class Delivery:
    """One journal, and what opens its run in a sink."""

    journal: Path
    open_run: Callable[[MlflowSink], tuple[str, str]]
    """Finds or makes (the study's run, the trial's run)."""
    on_done: Callable[[MlflowSink, str], None] = lambda sink, run_id: None
    """Called with the trial's run once all rows of a finished trial are there."""


@dataclass
class Parcel:
    """A journal on its way: how far it is, and the status that ends it."""

    delivery: Delivery
    cursor: Cursor
    run_id: str | None = None
    status: str | None = None
    """The status to set once all rows are there; None while the trial runs."""
    done: bool = False
    """All of it is there, the status included."""

    def send(self, sink: MlflowSink) -> int:
        """Send what the store does not have yet; rows sent.

        A cursor of other runs is void: the store was made anew, or is another one, or somebody deleted the
        trial's run in the middle. The run that is made in its place gets the journal from its start. A trial
        that its journal says is over has that end's status, whatever became of the process since, and
        whichever process wrote it.
        """
        told = self.status  # read before the rows, as the journal's end is: they come before what ends them
        journal = self.delivery.journal
        if self.run_id is None:
            parent, self.run_id = self.delivery.open_run(sink)
            if (self.cursor.parent, self.cursor.run) != (parent, self.run_id):
                self.cursor = Cursor(self.cursor.uri, parent, run=self.run_id)
        ended = run_status(journal)
        status = told if ended == KILLED else ended
        rows, end = unsent(journal, self.cursor.sent_bytes)
        if end > self.cursor.sent_bytes:
            # Durable first: a row that a power cut takes from the journal comes again with another timestamp.
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


Survey = Callable[[MlflowSink], Iterable[tuple[Delivery, str]]]


def _nothing(sink: MlflowSink) -> Iterable[tuple[Delivery, str]]:
    return ()


class Sender:
    """Background sender over any number of journals, in the order in which they came.

    survey: asked at each connection for the journals, with their status, that the store has not to their end.
    """

    def __init__(self, connect: Callable[[], MlflowSink], uri: str, survey: Survey = _nothing) -> None:
        self._connect, self._uri, self._survey = connect, uri, survey
        self._sink: MlflowSink | None = None
        self._parcels: dict[Path, Parcel] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._failures = 0
        self.is_gone = self._warned = False
        """is_gone: the store was deleted; rows that it had are in the journals alone."""
        self._thread = threading.Thread(target=self._work, name="metric-sender", daemon=True)
        self._thread.start()

    def watch(self, delivery: Delivery, status: str | None = None) -> None:
        """Carry a journal from now on, from where the store has it; status: as of `finish`."""
        parcel = Parcel(delivery, read_cursor(delivery.journal, self._uri), status=status)
        with self._lock:
            self._parcels[delivery.journal] = parcel
        self._wake.set()

    def finish(self, journal: Path, status: str) -> None:
        """Set the run's status once all of the journal was sent."""
        with self._lock:
            if journal in self._parcels:
                self._parcels[journal].status = status
        self._wake.set()

    def forget(self, journal: Path) -> None:
        """Carry a journal no longer: it is another process's."""
        with self._lock:
            self._parcels.pop(journal, None)

    def promised_bytes(self) -> int:
        """Bytes by which a SQLite store will still grow: its tables where it is not made yet, and rows on
        their way; 0 for a server, whose bytes are elsewhere."""
        if not self._uri.startswith(SQLITE):
            return 0
        return growth_bytes(Path(self._uri.removeprefix(SQLITE)), self._waiting_bytes())

    def _waiting_bytes(self) -> int:
        with self._lock:
            parcels = list(self._parcels.values())
        return sum(
            parcel.delivery.journal.stat().st_size - parcel.cursor.sent_bytes
            for parcel in parcels
            if parcel.delivery.journal.exists()
        )

    def close(self, timeout_seconds: float) -> int:
        """Send what is left while the store answers, at most for so long; rows still unsent."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_seconds)
        with self._lock:
            parcels = dict(self._parcels)
        left = 0
        for path, parcel in parcels.items():
            try:
                left += len(unsent(path, parcel.cursor.sent_bytes)[0])
            except DamageError as error:
                log.warning("the metrics of %s wait: %s", path.parent.name, error)
        return left

    def _work(self) -> None:
        while not self.is_gone:
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
        try:
            if self._sink is None:
                self._open()
            assert self._sink is not None
            self._sink.check_present()
            with self._lock:
                parcels = list(self._parcels.values())
            for parcel in parcels:
                self._send(parcel, self._sink)
        except Exception as error:
            # Whatever MLflow does wrong, the journal has the rows; the next try or run sends them.
            self._note(self._cause(error))
            return False
        if self._failures:
            log.info("MLflow takes the metrics again")
        self._failures = 0
        with self._lock:
            for parcel in parcels:
                if parcel.done:
                    self._parcels.pop(parcel.delivery.journal, None)
        return True

    def _cause(self, error: Exception) -> Exception:
        """The deletion of the store, where that lies behind what MLflow says."""
        try:
            if self._sink is not None:
                self._sink.check_present()
        except StoreGoneError as gone:
            return gone
        return error

    def _send(self, parcel: Parcel, sink: MlflowSink) -> None:
        try:
            parcel.send(sink)
        except DamageError as error:
            # The other journals are not to wait for this one.
            log.warning("the metrics of %s wait: %s", parcel.delivery.journal.parent.name, error)
            parcel.done = True

    def _open(self) -> None:
        self._sink = self._connect()
        for delivery, status in self._survey(self._sink):
            if delivery.journal not in self._parcels:
                self.watch(delivery, status)

    def _is_file_damaged(self) -> bool:
        """Damage does not always lie behind what MLflow says: a cut file gives an I/O error."""
        return self._uri.startswith(SQLITE) and is_file_damaged(Path(self._uri.removeprefix(SQLITE)))

    def _note(self, error: Exception) -> None:
        self._failures += 1
        self._sink = None
        with self._lock:
            for parcel in self._parcels.values():
                parcel.run_id = None  # found or made again: the store may come back as another one
        if isinstance(error, StoreGoneError):
            # MLflow keeps its connections for the life of a process; a new process starts on a new store.
            self.is_gone = True
            log.warning("%s", error)
        elif self._failures == 1:
            reason = str(error).partition("\n")[0] or type(error).__name__
            if is_damaged(error) or self._is_file_damaged():
                reason = f"{reason}; the database is damaged: {REBUILD}"
            elif isinstance(error, OSError) and files.is_out_of_space(error):
                reason = f"{reason}, where how far they were sent is noted beside the journals"
            log.warning("MLflow does not take the metrics (%s); the journals keep them", reason)
        if not self._warned and (waiting := self._waiting_bytes()) >= BACKLOG_BYTES:
            self._warned = True
            log.warning(
                "%.0f MB of metrics wait for MLflow in the journals, which take as much of the disk",
                waiting / 1e6,
            )
