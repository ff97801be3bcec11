"""A PostgreSQL server that several machines share: connections that notice a cut, retries, advisory locks."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import make_url
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from thriftune.config import without_password
from thriftune.errors import UnavailableError, first_line

log = logging.getLogger(__name__)

POSTGRES = "postgresql"
PATIENCE_SECONDS = 600.0
"""How long a server that does not answer is waited for."""
LONGEST_PAUSE_SECONDS = 16.0
REFUSALS = (
    "authentication failed", "no password supplied", "does not exist", "permission denied",
    "no pg_hba.conf entry", "not permitted to log in",
)  # fmt: skip
"""Words of a refusal that would be the same in ten minutes; libpq gives no code for it. A refusal in another
language than English is retried like silence."""
LOCK_WAIT_SECONDS = 2
"""How long to wait for a lock before calling `waiting`."""
KEEPALIVE: Mapping[str, int] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""The client's side: a connection that was cut is an error after 20 s, not after minutes."""
SERVER_SETTINGS = {
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "user_timeout": 20_000,
}
SERVER_KEEPALIVE = " ".join(f"-c tcp_{name}={value}" for name, value in SERVER_SETTINGS.items())
"""The server's side: a worker that was cut off loses its locks after 20 s."""


def nothing() -> None:
    """Do nothing while waiting."""


def connect(url: str, patience_seconds: int = KEEPALIVE["connect_timeout"]) -> psycopg.Connection[Any]:
    """Open a session in autocommit.

    Args:
        url: SQLAlchemy's URL.
        patience_seconds: How long the server may take to answer.

    Returns:
        The session.

    Raises:
        UnavailableError: The server refuses this user or database.
        psycopg.OperationalError: The server does not answer.
    """
    asked = make_conninfo(
        url.replace("+psycopg", "", 1),
        application_name=f"thriftune {os.getpid()}@{socket.gethostname()}",
        options=SERVER_KEEPALIVE,
        **{**KEEPALIVE, "connect_timeout": patience_seconds},
    )
    try:
        return psycopg.connect(asked, autocommit=True)
    except psycopg.OperationalError as error:
        if any(words in str(error) for words in REFUSALS):
            raise UnavailableError(
                f"PostgreSQL refuses the connection: {first_line(error)}",
                where=without_password(url),
                remedy="check the user, the password and the database's name in "
                "conf/local/credentials.yml; docs/several-machines.md says how to create them.",
            ) from error
        raise


def with_keepalive(url: str) -> str:
    """Return the URL with the options that `connect` sets, for a library that takes nothing but a URL.

    Args:
        url: SQLAlchemy's URL; what it sets itself stays.
    """
    given = make_url(url)
    more = {key: str(value) for key, value in KEEPALIVE.items() if key not in given.query}
    return given.update_query_dict(more).render_as_string(hide_password=False)


def lock_key(name: str) -> int:
    """Return the 64-bit key of an advisory lock.

    Args:
        name: The lock's name.
    """
    digest = hashlib.sha256(f"thriftune:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


@contextmanager
def advisory_lock(url: str, name: str, waiting: Callable[[], None] = nothing) -> Iterator[None]:
    """Hold a lock that one process has at a time, of all that use the server.

    Args:
        url: SQLAlchemy's URL.
        name: The lock's name.
        waiting: Called several times a second while another process has the lock; may raise.
    """
    session = retry_until_available(
        lambda: _locked(url, lock_key(name), waiting), psycopg.OperationalError, url, waiting
    )
    try:
        yield
    finally:
        session.close()


def _locked(url: str, key: int, waiting: Callable[[], None]) -> psycopg.Connection[Any]:
    """Return a session with the lock, once it is free."""
    session = connect(url)
    try:
        session.execute("select set_config('lock_timeout', %s, false)", (f"{LOCK_WAIT_SECONDS}s",))
        while True:
            try:
                session.execute("select pg_advisory_lock(%s)", (key,))
                return session
            except psycopg.errors.LockNotAvailable:
                waiting()
    except BaseException:
        session.close()
        raise


T = TypeVar("T")


def retry_until_available(
    call: Callable[[], T], temporary: type[Exception], url: str, waiting: Callable[[], None] = nothing
) -> T:
    """Return what `call` returns; repeat it while the server does not answer.

    Args:
        call: What to do; repeating it must do no harm.
        temporary: The error that says that the server did not answer.
        url: SQLAlchemy's URL, for the message.
        waiting: Called several times a second between tries; may raise.

    Raises:
        UnavailableError: The server has not answered for PATIENCE_SECONDS.
    """

    def warn(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            log.warning(
                "PostgreSQL does not answer (%s); retrying for up to %.0f minutes. Ctrl-C ends the "
                "wait; the address is in conf/local/credentials.yml",
                first_line(state.outcome.exception()),
                PATIENCE_SECONDS / 60,
            )

    def pause(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            waiting()
            time.sleep(0.2)

    trying = Retrying(
        retry=retry_if_exception_type(temporary),
        wait=wait_exponential(max=LONGEST_PAUSE_SECONDS),
        stop=stop_after_delay(PATIENCE_SECONDS),
        before_sleep=warn,
        sleep=pause,
        reraise=True,
    )
    try:
        return trying(call)
    except temporary as error:
        raise UnavailableError(
            f"PostgreSQL has not answered for {PATIENCE_SECONDS:.0f} s: {first_line(error)}",
            where=without_password(url),
            remedy="start the server, then run the same command again; completed work is kept.",
        ) from error
