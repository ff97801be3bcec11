"""Whether MLflow's store answers, asked with a short patience before anything depends on it.

Imports no mlflow: kedro-mlflow contacts the store while Kedro makes its context, and dies there where it does
not answer.
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
from thriftune.errors import UnavailableError, chain

PATIENCE_SECONDS = 5.0
BRIEF_SECONDS = 1.0
"""For MLflow's last word after a signal."""
REBUILD = "`thriftune tracking rebuild` makes it anew from the journals and keeps the old file beside it"
ANSWER_BYTES = 1 << 16


def be_brief() -> None:
    """From now on a server that hangs costs MLflow's client a second a call: after a signal the process has
    ten in all."""
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "1"
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """TimeoutError in the block where it takes longer. Other threads than the main one have no such limit."""
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


def trouble(uri: str) -> str | None:
    """Why the store of a tracking URI cannot be used, or None. Stores of other kinds than HTTP, SQLite and
    PostgreSQL are taken to be there."""
    if uri.startswith(SQLITE):
        return _sqlite_trouble(Path(uri.removeprefix(SQLITE)))
    if uri.startswith(("http://", "https://")):
        return _http_trouble(uri)
    if uri.startswith("postgresql"):
        return _postgres_trouble(uri)
    return None


def _sqlite_trouble(path: Path) -> str | None:
    """See trouble; damage is told with the command that mends it."""
    error = _refused_write(path)
    if error is None:
        return None
    if is_damaged(error):
        return f"{path} is no sound database ({error}); {REBUILD}"
    return f"{path}: {error}"


def is_unsound(path: Path) -> bool:
    """Whether a SQLite file is corrupt, or no database at all."""
    error = _refused_write(path)
    return error is not None and is_damaged(error)


def _refused_write(path: Path) -> sqlite3.DatabaseError | None:
    """Why a SQLite file cannot be written; None where it can, or is not there. A write transaction is begun
    and given back."""
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
    """Whether a corrupt SQLite file, or one that is no database at all, lies behind an error."""
    codes = [getattr(link, "sqlite_errorcode", None) for link in chain(error)]
    return any(code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) for code in codes if code)


def _http_trouble(uri: str) -> str | None:
    """The first call that kedro-mlflow makes, answered in MLflow's way."""
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


def _postgres_trouble(uri: str) -> str | None:
    import psycopg

    from thriftune.databases.postgres import brief, connect

    try:
        connect(uri, patience_seconds=round(PATIENCE_SECONDS)).close()
    except psycopg.Error as error:
        return f"{without_password(uri)}: {brief(error)}"
    except UnavailableError as error:
        return f"{without_password(uri)}: {error.message}"
    return None


def is_silence(error: BaseException) -> bool:
    """Whether a database did not answer, rather than refused."""
    return any(isinstance(link, OperationalError | InterfaceError) for link in chain(error))
