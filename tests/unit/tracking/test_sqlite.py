"""Write-ahead logs stay short on every connection that is opened afterwards."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from thriftune.tracking.sqlite import LOG_BYTES, LOG_PAGES, OpenedFile, fold_log, keep_logs_short

pytestmark = pytest.mark.unit


def test_connections_fold_their_log_back_early(tmp_path: Path) -> None:
    """Registered once however often it is asked for."""
    keep_logs_short()
    keep_logs_short()
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA wal_autocheckpoint")).scalar() == LOG_PAGES
        assert connection.execute(text("PRAGMA journal_size_limit")).scalar() == LOG_BYTES
    engine.dispose()


def test_a_log_is_emptied_unless_somebody_reads(tmp_path: Path) -> None:
    """A database that is not there is not made; a reader keeps the log, without an error."""
    path = tmp_path / "a.db"
    fold_log(path)
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
        fold_log(path)
        assert log.stat().st_size > 100_000
        reader.rollback()
        fold_log(path)
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
