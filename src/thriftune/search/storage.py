"""Optuna's storage: opened, read and emptied, on SQLite or on a PostgreSQL server."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Engine, event

from thriftune.databases.health import unavailable_reason
from thriftune.databases.sqlite import SQLITE, OpenedFile, create_atomically, limit_wal_size
from thriftune.errors import UnavailableError
from thriftune.search.quiet import hide_progress_messages
from thriftune.search.storage_errors import storage_errors

if TYPE_CHECKING:
    from thriftune.study.handle import StudyHandle

BUSY_TIMEOUT_SECONDS = 60
"""How long a locked SQLite database is waited for."""


def open_storage(url: str, waiting: Callable[[], None] = lambda: None) -> RDBStorage:
    """Open Optuna's storage; its tables are made where they are missing.

    Args:
        url: SQLAlchemy's URL of a SQLite file or of a PostgreSQL database.
        waiting: Called several times a second while a server is waited for; may raise.

    Returns:
        The storage. UnavailableError is raised if it cannot be written.
    """
    with hide_progress_messages():
        if url.startswith(SQLITE):
            return _open_sqlite(Path(url.removeprefix(SQLITE)))
        from thriftune.search.postgres_storage import open_postgres

        return open_postgres(url, waiting)


@storage_errors()
def is_known(study: StudyHandle) -> bool:
    """Return whether Optuna has trials of a study.

    Args:
        study: The study; its storage is not created.
    """
    if _is_missing(study.storage):
        return False
    summaries = optuna.get_all_study_summaries(open_storage(study.storage), include_best_trial=False)
    return any(item.study_name == study.id and item.n_trials > 0 for item in summaries)


def trials_of(study: StudyHandle) -> list[FrozenTrial]:
    """Return the trials that Optuna has of a study, in order of their numbers.

    Args:
        study: The study; its storage is not created.
    """
    return read_trials(study.storage, [study.id])[study.id]


@storage_errors()
def read_trials(url: str, study_ids: Iterable[str]) -> dict[str, list[FrozenTrial]]:
    """Return the trials of several studies by the study's id, in order of their numbers.

    Opens the storage once, which takes longer than reading it, and creates nothing: a study that the storage
    does not know has no trials.

    Args:
        url: As for `open_storage`.
        study_ids: The studies' ids.
    """
    if _is_missing(url):
        return {study_id: [] for study_id in study_ids}
    storage = open_storage(url)
    return {study_id: _trials_in(storage, study_id) for study_id in study_ids}


@storage_errors()
def delete_optuna_study(url: str, study_id: str) -> None:
    """Delete a study's trials from Optuna's storage, unless it has none.

    Args:
        url: As for `open_storage`.
        study_id: The study's id.
    """
    if _is_missing(url):
        return
    try:
        optuna.delete_study(study_name=study_id, storage=open_storage(url))
    except KeyError:
        return


def _trials_in(storage: RDBStorage, study_id: str) -> list[FrozenTrial]:
    try:
        return storage.get_all_trials(storage.get_study_id_from_name(study_id), deepcopy=False)
    except KeyError:
        return []


def _is_missing(url: str) -> bool:
    return url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists()


def _open_sqlite(database: Path) -> RDBStorage:
    database.parent.mkdir(parents=True, exist_ok=True)
    limit_wal_size(database)
    if (reason := unavailable_reason(f"{SQLITE}{database}")) is not None:
        raise UnavailableError(
            f"Optuna's database cannot be used: {reason}",
            where=str(database),
            remedy="free it, or let `thriftune tracking rebuild` recreate it from the journals.",
        )
    create_atomically(database, lambda url: RDBStorage(url).engine.dispose())
    storage = RDBStorage(
        f"{SQLITE}{database}",
        engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_SECONDS}},
    )
    engine: Engine = storage.engine
    event.listen(engine, "connect", _use_wal)
    engine.dispose()
    opened = OpenedFile(database)

    def require_same_file(connection: Connection) -> None:
        if not opened.is_in_place():
            raise UnavailableError(
                "Optuna's database was deleted while this process was working",
                where=str(database),
                remedy="run the same command again: it restores the trials from the journals and resumes.",
            )

    event.listen(engine, "begin", require_same_file)
    return storage


def _use_wal(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
