"""Whether a database answers within seconds, asked before anything depends on it.

Imports no mlflow: kedro-mlflow contacts its store while Kedro makes its context, and fails there if the store
does not answer.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from sqlalchemy.exc import InterfaceError, OperationalError

from thriftune.config import without_password
from thriftune.databases.sqlite import SQLITE
from thriftune.errors import UnavailableError, chain, first_line

PATIENCE_SECONDS = 5.0
BRIEF_SECONDS = 1.0
"""How long MLflow's last call may take after a signal."""
REBUILD = "`thriftune tracking rebuild` recreates it from the journals and keeps the old file beside it"
ANSWER_BYTES = 1 << 16


def shorten_mlflow_timeouts() -> None:
    """Have each call of MLflow's client to a server that hangs take one second at most, from now on.

    After a signal the process has ten seconds in all.
    """
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "1"
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block when it takes longer; only the main thread can have a limit.

    Args:
        seconds: How long the block may take.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def unavailable_reason(uri: str) -> str | None:
    """Return why the store of a tracking URI cannot be used, or None.

    Args:
        uri: Of HTTP, SQLite or PostgreSQL; stores of other kinds are assumed to answer.
    """
    if uri.startswith(SQLITE):
        return _sqlite_reason(Path(uri.removeprefix(SQLITE)))
    if uri.startswith(("http://", "https://")):
        return _http_reason(uri)
    if uri.startswith("postgresql"):
        return _postgres_reason(uri)
    return None


def _sqlite_reason(path: Path) -> str | None:
    """Return the reason; for a damaged file it names the command that recreates it."""
    error = _refused_write(path)
    if error is None:
        return None
    if is_damaged(error):
        return f"{path} is damaged ({error}); {REBUILD}"
    return f"{path}: {error}"


def is_file_damaged(path: Path) -> bool:
    """Return whether a SQLite file is corrupt, or no database at all.

    Args:
        path: Of the file, which need not exist.
    """
    error = _refused_write(path)
    return error is not None and is_damaged(error)


def _refused_write(path: Path) -> sqlite3.DatabaseError | None:
    """Return why a SQLite file cannot be written; None if it can be, or does not exist.

    A write transaction is begun and rolled back.
    """
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)) as connection:
            connection.execute("begin immediate")
            connection.execute("select count(*) from sqlite_master").fetchone()
            connection.execute("pragma user_version = 0")  # a file that cannot be written is noticed here
            connection.execute("rollback")
    except sqlite3.DatabaseError as error:
        return error
    return None


def is_damaged(error: BaseException) -> bool:
    """Return whether the cause of an error is a SQLite file that is corrupt, or no database at all.

    Args:
        error: The error; its whole chain of causes is looked at.
    """
    codes = [getattr(link, "sqlite_errorcode", None) for link in chain(error)]
    return any(code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) for code in codes if code)


def _http_reason(uri: str) -> str | None:
    """Make the first call that kedro-mlflow makes; the answer must be MLflow's."""
    import requests

    url = uri.rstrip("/") + "/api/2.0/mlflow/experiments/get-by-name"
    try:
        with requests.get(
            url, params={"experiment_name": "Default"}, timeout=PATIENCE_SECONDS, stream=True
        ) as answer:
            content = answer.raw.read(ANSWER_BYTES)
    except (requests.RequestException, OSError) as error:
        return f"{type(error).__name__} from {without_password(uri)}"
    known = b'"experiment"' in content or b'"error_code"' in content
    if answer.status_code not in (200, 404) or not known:
        return f"{without_password(uri)} answers {answer.status_code}, not as an MLflow server does"
    return None


def _postgres_reason(uri: str) -> str | None:
    import psycopg

    from thriftune.databases.postgres import connect

    try:
        connect(uri, patience_seconds=round(PATIENCE_SECONDS)).close()
    except psycopg.Error as error:
        return f"{without_password(uri)}: {first_line(error)}"
    except UnavailableError as error:
        return f"{without_password(uri)}: {error.message}"
    return None


def is_connection_error(error: BaseException) -> bool:
    """Return whether a database did not answer, rather than refused.

    Args:
        error: The error; its whole chain of causes is looked at.
    """
    return any(isinstance(link, OperationalError | InterfaceError) for link in chain(error))
