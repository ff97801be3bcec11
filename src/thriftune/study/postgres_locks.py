"""Who owns what of a study, for workers on several machines: advisory locks of PostgreSQL.

A session-level lock is held for as long as the server has the session, and the server notices through TCP
keep-alives that a machine has died or was cut off. A worker that lost its session, since the server was
started again or the network was cut, takes its locks again before it commits anything more; where another
worker was faster, the trial is that worker's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg

from thriftune.config import without_password
from thriftune.databases.postgres import (
    advisory_lock,
    connect,
    lock_key,
    nothing,
    retry_until_available,
)
from thriftune.errors import RefusedError, StudyError, TakenOverError, first_line
from thriftune.study.identity import STUDY_PREFIX
from thriftune.study.opening import require_arbiter

log = logging.getLogger(__name__)

T = TypeVar("T")

GRACE_SECONDS = 30.0
"""After the server's start, before a trial counts as free: its owner has time to reconnect first."""

POLL_SECONDS = 0.5

STUDY = "study"
HOLDERS = """
    select a.application_name, a.client_addr::text, a.backend_start
    from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.database = (select oid from pg_database where datname = current_database())
      and (l.classid::bigint << 32) + l.objid::bigint = %s::bigint and a.pid <> pg_backend_pid()
"""
SERVER = "select (select system_identifier from pg_control_system()), current_database()"
YOUNG = "select extract(epoch from now() - pg_postmaster_start_time()) < %s"


class PostgresLock:
    """Ownership of a study by advisory locks of one session; see file_locks.Ownership."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        shared: bool = True,
        waiting: Callable[[], None] = nothing,
        moving: bool = False,
    ) -> None:
        """Prepare the locks; nothing is owned before the `with` block.

        Args:
            url: Of the database, in SQLAlchemy's form.
            folder: The study's.
            shared: Other processes may work on other trials.
            waiting: Called while others, or the server, are waited for; may raise.
            moving: The record may name another arbiter.
        """
        self.shared, self.arbiter = shared, ""
        self._url, self._folder, self._waiting, self._moving = url, folder, waiting, moving
        self._study_id = folder.name.removeprefix(STUDY_PREFIX)
        self._session: psycopg.Connection[Any] | None = None
        self._trials: set[int] = set()
        self._lost: StudyError | None = None
        self._lock = threading.RLock()

    # ---- the study ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with self._lock:
            session = self._connect()
            try:
                self._require_arbiter(session)
                if not _try(session, self._key(STUDY), shared=self.shared):
                    raise self._refusal(self._holders(session))
            except BaseException:
                session.close()
                raise
            self._session = session
        return self

    def _require_arbiter(self, session: psycopg.Connection[Any]) -> None:
        row = session.execute(SERVER).fetchone()
        assert row is not None
        self.arbiter = f"PostgreSQL {row[0]}, database {row[1]}"
        if not self._moving:
            require_arbiter(self._folder, self.arbiter)

    def _refusal(self, holders: str) -> RefusedError:
        return RefusedError(
            f"another process is working on this study: {holders or 'it has just ended'}",
            where=without_password(self._url),
            remedy="wait for it, or end it where it runs; its work is kept.",
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None
        self._trials.clear()

    def is_held(self) -> bool:
        """Return whether any process works on the study."""
        with self._connect() as session:
            self._require_arbiter(session)
            return bool(self._holders(session))

    def check(self) -> None:
        """Raise unless this process still owns what it took; a lost session is replaced first."""
        with self._lock:
            if self._session is None:
                return
            try:
                self._session.execute("select 1")
            except psycopg.OperationalError as error:
                log.warning("the connection to PostgreSQL is lost (%s)", first_line(error))
                self._reconnect()
            self.check_quickly()

    def check_quickly(self) -> None:
        """Raise what the last `check` found, without asking the server."""
        if self._lost is not None:
            raise self._lost

    def _reconnect(self) -> None:
        """Open a new session with the same locks; what another worker owns by now is lost."""
        assert self._session is not None
        self._session.close()
        self._session, gone, self._lost = self._patiently(self._session_with_locks)
        self._trials -= gone
        if self._lost is None:
            log.info("reconnected to PostgreSQL; no other process has taken anything over")

    def _session_with_locks(self) -> tuple[psycopg.Connection[Any], set[int], StudyError | None]:
        """Return a session with every lock that is free, the trials that others have, and what is lost."""
        session, gone, lost = connect(self._url), set[int](), self._lost
        try:
            if not _try(session, self._key(STUDY), shared=self.shared):
                lost = self._refusal(self._holders(session))
            for trial in sorted(self._trials):
                if not _try(session, self._trial_key(trial)):
                    gone.add(trial)
                    lost = TakenOverError(
                        f"trial {trial} was taken over while this worker was cut off from PostgreSQL: "
                        f"{self._holders(session, self._trial_key(trial))}",
                        where=f"study {self._study_id}",
                    )
        except BaseException:
            session.close()
            raise
        return session, gone, lost

    # ---- trials ------------------------------------------------------------------------------

    def take(self, trial: int, *, adopting: bool = False) -> bool:
        """Own a trial of a shared study, unless another process has it.

        Args:
            trial: The trial's number.
            adopting: The trial was begun by another process.

        Returns:
            Whether this process owns it now.
        """
        if not self.shared:
            return True
        with self._lock:
            self._lost = None if isinstance(self._lost, TakenOverError) else self._lost
            self.check()
            assert self._session is not None
            if trial in self._trials:
                return True
            if adopting and self._is_young(self._session):
                return False
            if _try(self._session, self._trial_key(trial)):
                self._trials.add(trial)
                return True
            return False

    def _is_young(self, session: psycopg.Connection[Any]) -> bool:
        """Return whether the server has just been started, so that owners may still be reconnecting."""
        return session.execute(YOUNG, (GRACE_SECONDS,)).fetchone() == (True,)

    def release(self, trial: int) -> None:
        """Release a trial that this process owns.

        Args:
            trial: The trial's number.
        """
        with self._lock:
            if trial in self._trials and self._session is not None:
                self._trials.discard(trial)
                # Where the session is lost the lock is gone with it.
                with suppress(psycopg.OperationalError):
                    self._session.execute("select pg_advisory_unlock(%s)", (self._trial_key(trial),))

    def is_taken(self, trial: int) -> bool:
        """Return whether another process owns a trial of a shared study.

        Args:
            trial: The trial's number.
        """
        if not self.shared:
            return False
        with self._lock:
            self.check()
            assert self._session is not None
            if trial in self._trials:
                return False
            return bool(self._holders(self._session, self._trial_key(trial)))

    def await_owners(self) -> None:
        """Wait until workers have had the time to come back to a server that was just started."""
        is_logged = False
        while self.shared:
            with self._lock:
                self.check()
                assert self._session is not None
                if not self._is_young(self._session):
                    return
            if not is_logged:
                log.info("PostgreSQL has just been started: waiting for other workers to reconnect")
            is_logged = True
            self._waiting()
            time.sleep(POLL_SECONDS)

    # ---- short sections ----------------------------------------------------------------------

    def section(self, name: str) -> AbstractContextManager[None]:
        """Enter a section that only one process of a shared study is in at a time, once it is free.

        Args:
            name: Its name.

        Returns:
            The section, for a `with` block.
        """
        return advisory_lock(self._url, self._name(name), self._waiting) if self.shared else nullcontext()

    # ---- the server --------------------------------------------------------------------------

    def _connect(self) -> psycopg.Connection[Any]:
        return self._patiently(lambda: connect(self._url))

    def _patiently(self, call: Callable[[], T]) -> T:
        return retry_until_available(call, psycopg.OperationalError, self._url, self._waiting)

    def _holders(self, session: psycopg.Connection[Any], key: int | None = None) -> str:
        """Return who holds a lock, for people: process, machine, since when."""
        rows = session.execute(HOLDERS, (self._key(STUDY) if key is None else key,)).fetchall()
        return "; ".join(
            f"pid {(name or '?').removeprefix('thriftune ').replace('@', ' on ')}"
            f" ({address or 'this machine'}) since {since.isoformat(timespec='seconds') if since else '?'}"
            for name, address, since in rows
        )

    def _trial_key(self, trial: int) -> int:
        return self._key(f"trial {trial}")

    def _key(self, name: str) -> int:
        return lock_key(self._name(name))

    def _name(self, name: str) -> str:
        return f"{self._study_id}:{name}"


def _try(session: psycopg.Connection[Any], key: int, *, shared: bool = False) -> bool:
    function = "pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock"
    row = session.execute(f"select {function}(%s)", (key,)).fetchone()
    return row == (True,)
