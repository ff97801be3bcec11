"""Write-ahead logs stay short on every connection that is opened afterwards."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from thriftune import files
from thriftune.databases.sqlite import (
    LOG_BYTES,
    LOG_PAGES,
    OpenedFile,
    checkpoint_wal,
    create_atomically,
    limit_wal_size,
)

pytestmark = pytest.mark.unit
OFF, FULL = 0, 2
"""Values of `PRAGMA synchronous`."""


def pragmas(url: str) -> tuple[int, ...]:
    """How a new connection to a database is configured."""
    engine = create_engine(url)
    with engine.connect() as connection:
        names = ("wal_autocheckpoint", "journal_size_limit", "synchronous")
        found = tuple(connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in names)
    engine.dispose()
    return found


def test_connections_fold_their_log_back_early(tmp_path: Path) -> None:
    """However often it is asked for, and by whatever path; the databases of others are left alone."""
    (tmp_path / "link").symlink_to(tmp_path)
    limit_wal_size(tmp_path / "a.db")
    limit_wal_size(tmp_path / "link" / "a.db")
    for path in (tmp_path / "a.db", tmp_path / "link" / "a.db"):
        assert pragmas(f"sqlite:///{path}") == (LOG_PAGES, LOG_BYTES, FULL)
    for url in (f"sqlite:///{tmp_path / 'other.db'}", "sqlite://"):
        assert pragmas(url) == (1000, -1, FULL)


def test_a_new_database_waits_for_the_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at each transaction that makes its tables, but before it gets its name; afterwards always."""
    path = tmp_path / "a.db"
    events, seen = [], []
    monkeypatch.setattr(files, "observer", lambda event: events.append((event.operation, event.path.name)))

    def make(url: str) -> None:
        seen.append(pragmas(url))
        events.clear()

    create_atomically(path, make)
    assert seen == [(LOG_PAGES, LOG_BYTES, OFF)]
    assert events == [("fsync", ".new-a.db"), ("rename", "a.db"), ("fsync_directory", tmp_path.name)]
    assert path.read_bytes()[18:20] == b"\2\2", "not in WAL mode: who reads it at once would stop the writer"
    assert not list(tmp_path.glob("*-wal"))
    limit_wal_size(path)
    assert pragmas(f"sqlite:///{path}") == (LOG_PAGES, LOG_BYTES, FULL)
    assert pragmas(f"sqlite:///{tmp_path}/.new-a.db") == (1000, -1, FULL)


KILLED = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA wal_autocheckpoint=64")
database.execute("create table trials (number, content)")
for number in range(int(sys.argv[2])):
    database.execute("insert into trials values (?, zeroblob(2000))", (number,))
    database.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("rows", [3, 300], ids=["whole log", "log folded back in part"])
def test_the_log_of_a_deleted_database_is_no_part_of_the_new_one(tmp_path: Path, rows: int) -> None:
    """A process was killed, then its database was deleted without the log: SQLite would play it back into the
    file that takes its place, whole or in pieces."""
    path = tmp_path / "a.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(rows)], check=False)
    assert done.returncode == -signal.SIGKILL
    path.unlink()
    assert (tmp_path / "a.db-wal").stat().st_size > 0

    def make(url: str) -> None:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.execute("create table fresh (x)")
            database.commit()

    create_atomically(path, make)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("select name from sqlite_master").fetchall() == [("fresh",)]
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert len(list(tmp_path.glob("a.db.old-*-wal"))) == 1


def test_a_log_is_emptied_unless_somebody_reads(tmp_path: Path) -> None:
    """A database that is not there is not made; a reader keeps the log, without an error."""
    path = tmp_path / "a.db"
    checkpoint_wal(path)
    assert not path.exists()
    log = tmp_path / "a.db-wal"
    with closing(sqlite3.connect(path)) as writer, closing(sqlite3.connect(path)) as reader:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("create table t (x)")
        writer.commit()
        reader.execute("begin")
        reader.execute("select * from t").fetchall()
        writer.execute("insert into t values (zeroblob(100000))")
        writer.commit()
        checkpoint_wal(path)
        assert log.stat().st_size > 100_000
        reader.rollback()
        checkpoint_wal(path)
        assert log.stat().st_size == 0


def test_a_file_that_took_the_place_of_a_deleted_one_is_another(tmp_path: Path) -> None:
    """Also where the file system would give it the inode of the deleted one."""
    path = tmp_path / "a.db"
    path.touch()
    opened = OpenedFile(path)
    assert opened.is_in_place()
    path.unlink()
    assert not opened.is_in_place()
    path.touch()
    assert not opened.is_in_place()
