"""How the tracking databases are opened: write-ahead logs that stay short.

A log grows to 4 MB before SQLite folds it back by default, and never shrinks. Two databases count with
their logs against the budget of a study, so here it is a quarter of a megabyte, and what one large
transaction adds is given back after it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

LOG_PAGES, LOG_BYTES = 64, 1 << 18
"""Pages of 4 KiB after which the log is folded back; what is left of its file then."""


def keep_logs_short() -> None:
    """For every SQLite connection that this process opens from now on."""
    if not event.contains(Engine, "connect", _configure):
        event.listen(Engine, "connect", _configure)


def fold_log(database: Path) -> None:
    """Fold the log back and empty it; while somebody reads from it, it is left for the next time."""
    if database.exists():
        with closing(sqlite3.connect(database, timeout=0.1)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _configure(connection: Any, record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
