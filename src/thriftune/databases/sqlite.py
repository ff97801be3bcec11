"""How the tracking databases are opened: write-ahead logs that stay short.

By default SQLite checkpoints a log when it has 4 MB, and never shrinks its file. Two databases count with
their logs against the budget of a study, so here it is a quarter of a megabyte, and the file is truncated
after one large transaction.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from weakref import WeakSet

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

from thriftune import files

SQLITE = "sqlite:///"
LOG_PAGES, LOG_BYTES = 64, 1 << 18
"""Pages of 4 KiB after which the log is checkpointed; bytes that its file is truncated to then."""

_ours: set[str] = set()
"""Databases whose connections are configured. Engines of other databases in this process are left alone."""
_unfinished: set[str] = set()
"""Those whose tables are being made under a temporary name, and need not survive a crash."""
_engines: WeakSet[Engine] = WeakSet()
"""Engines of this process that have connected to one of our databases."""


def limit_wal_size(database: Path) -> None:
    """Configure every connection that SQLAlchemy opens to a database from now on.

    MLflow makes its engine where no caller can reach it, hence the listener on all engines; it does nothing
    for other databases.

    Args:
        database: Path of a SQLite database, which need not exist.
    """
    _ours.add(os.path.realpath(database))
    if not event.contains(Engine, "connect", _configure):
        event.listen(Engine, "connect", _configure)
        event.listen(Engine, "engine_connect", _remember)


def close_databases() -> None:
    """Close our SQLite databases, at the end of the process.

    The last process to close one checkpoints and removes its log, so that the database is one file again.
    """
    for engine in list(_engines):
        engine.dispose()


def create_atomically(database: Path, make: Callable[[str], object]) -> None:
    """Create a database's tables under a temporary name, then rename it, in WAL mode.

    MLflow makes its tables in some 150 transactions. A process killed between two of them would leave a
    database that no later one can open, and waiting for the disk at each of them would take seconds: the new
    file is made durable once, before it gets its name. An existing database is left alone.

    Args:
        database: The final path.
        make: Creates the tables, given the SQLAlchemy URL.
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
            # While nobody else reads it: SQLite changes no mode beside another active connection.
            connection.execute("PRAGMA journal_mode=WAL")
        checkpoint_wal(temporary)
        files.fsync_path(temporary)
        move_aside(database)  # the log of a deleted database would be played back into the new one
        files.rename(temporary, database)


def new_name(database: Path) -> Path:
    """Return the path of a database until its tables are made.

    Args:
        database: The final path.
    """
    return database.with_name(f".new-{database.name}")


class OpenedFile:
    """A database's file at the moment of its opening.

    It is held open: the inode of a deleted file that nobody has open may be given to the next new file.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._held = sqlite3.connect(database, check_same_thread=False)
        self._inode = database.stat().st_ino

    def is_in_place(self) -> bool:
        """Return False once the file was deleted, or another one took its place."""
        try:
            return self._database.stat().st_ino == self._inode
        except FileNotFoundError:
            return False


@cache
def first_opened(database: Path) -> OpenedFile:
    """Return the file that this process opened first at a path.

    MLflow keeps its connections to it for the life of the process, whatever takes the file's place.

    Args:
        database: Path of an existing SQLite database.
    """
    return OpenedFile(database)


def move_aside(database: Path) -> Path | None:
    """Rename a database and its logs out of the way.

    Args:
        database: Path of a SQLite database.

    Returns:
        The new path; None if there was no database.
    """
    aside = database.with_name(f"{database.name}.old-{time.time_ns()}")
    found = database.exists()
    for suffix in ("-wal", "-shm", "-journal", ""):
        part = database.with_name(database.name + suffix)
        if part.exists():
            files.rename(part, aside.with_name(aside.name + suffix))
    return aside if found else None


def checkpoint_wal(database: Path) -> None:
    """Checkpoint and truncate the log; while another connection reads from it, leave it for the next time.

    Args:
        database: Path of a SQLite database, which need not exist.
    """
    if database.exists():
        with closing(sqlite3.connect(database, timeout=0.1)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _without_sync(database: Path) -> Iterator[None]:
    """Configure connections to a database that is being made: they do not wait for the disk."""
    limit_wal_size(database)
    path = os.path.realpath(database)
    _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)
        _ours.discard(path)


def _remember(connection: Connection) -> None:
    if (
        connection.dialect.name == "sqlite"
        and os.path.realpath(connection.engine.url.database or "") in _ours
    ):
        _engines.add(connection.engine)


def _configure(connection: object, record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    _, _, path = connection.execute("PRAGMA database_list").fetchone()
    if path in _unfinished:
        connection.execute("PRAGMA synchronous=OFF")
    if path in _ours:
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
