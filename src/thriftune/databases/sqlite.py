"""How the tracking databases are opened: write-ahead logs that stay short.

A log grows to 4 MB before SQLite folds it back by default, and never shrinks. Two databases count with
their logs against the budget of a study, so here it is a quarter of a megabyte, and what one large
transaction adds is given back after it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Engine

from thriftune import files

SQLITE = "sqlite:///"
LOG_PAGES, LOG_BYTES = 64, 1 << 18
"""Pages of 4 KiB after which the log is folded back; what is left of its file then."""

_ours: set[str] = set()
"""Databases whose connections are configured. Engines of other databases in this process are left alone."""
_unfinished: set[str] = set()
"""Those of them whose tables are being made under a temporary name: none of them has to survive a crash."""
_engines: WeakSet[Engine] = WeakSet()
"""Those of this process that have connected to one of ours."""


def keep_logs_short(database: Path) -> None:
    """Configure every connection that SQLAlchemy opens to a database from now on.

    MLflow makes its engine where no caller can reach it, hence the listener on all engines; it does nothing
    for the databases of others.
    """
    _ours.add(os.path.realpath(database))
    if not event.contains(Engine, "connect", _configure):
        event.listen(Engine, "connect", _configure)
        event.listen(Engine, "engine_connect", _remember)


def close_databases() -> None:
    """Close our SQLite databases at the end of the process: the last to close one folds its log back and
    removes it, so that the database is one file again."""
    for engine in list(_engines):
        engine.dispose()


def make_whole(database: Path, make: Callable[[str], object]) -> None:
    """Let `make` create a database's tables under a temporary name, then put it in its place, in WAL mode.

    MLflow makes its tables in some 150 transactions. A process killed between two of them would leave a
    database that no later one can open, and waiting for the disk at each of them would take seconds: the new
    file is made durable once, before it gets its name. One that is there already is left alone.

    Args:
        database: Its final path.
        make: Makes the tables, given the SQLAlchemy URL.
    """
    if database.exists():
        return
    with files.file_lock(database):
        if database.exists():
            return
        temporary = new_name(database)
        for left in database.parent.glob(f"{temporary.name}*"):
            left.unlink()
        with _without_sync(temporary):
            make(f"{SQLITE}{temporary}")
        with closing(sqlite3.connect(temporary)) as connection:
            # While nobody else reads it: SQLite changes no mode beside another connection at work.
            connection.execute("PRAGMA journal_mode=WAL")
        fold_log(temporary)
        files.fsync_path(temporary)
        set_aside(database)  # the log of a deleted database would be played back into the new one
        files.rename(temporary, database)


def new_name(database: Path) -> Path:
    """Where a database is until its tables are made."""
    return database.with_name(f".new-{database.name}")


class OpenedFile:
    """A database's file at the moment of its opening.

    It is held open: the inode of a deleted file that nobody has open goes to the next one that is made.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._held = sqlite3.connect(database, check_same_thread=False)
        self._inode = database.stat().st_ino

    def is_in_place(self) -> bool:
        """False once it was deleted, or another file was put in its place."""
        try:
            return self._database.stat().st_ino == self._inode
        except FileNotFoundError:
            return False


@cache
def first_opened(database: Path) -> OpenedFile:
    """The file that this process opened first under a name: MLflow keeps its connections to it for the life
    of the process, whatever takes the file's place."""
    return OpenedFile(database)


def set_aside(database: Path) -> Path | None:
    """Rename a database and its logs out of the way; its new place, or None where there was none."""
    aside = database.with_name(f"{database.name}.old-{time.time_ns()}")
    found = database.exists()
    for suffix in ("-wal", "-shm", "-journal", ""):
        part = database.with_name(database.name + suffix)
        if part.exists():
            files.rename(part, aside.with_name(aside.name + suffix))
    return aside if found else None


def fold_log(database: Path) -> None:
    """Fold the log back and empty it; while somebody reads from it, it is left for the next time."""
    if database.exists():
        with closing(sqlite3.connect(database, timeout=0.1)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _without_sync(database: Path) -> Iterator[None]:
    """Let no connection to a database that is being made wait for the disk."""
    keep_logs_short(database)
    path = os.path.realpath(database)
    _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)
        _ours.discard(path)


def _remember(connection: Any) -> None:
    if (
        connection.dialect.name == "sqlite"
        and os.path.realpath(connection.engine.url.database or "") in _ours
    ):
        _engines.add(connection.engine)


def _configure(connection: Any, record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    _, _, path = connection.execute("PRAGMA database_list").fetchone()
    if path in _unfinished:
        connection.execute("PRAGMA synchronous=OFF")
    if path in _ours:
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
