"""A PostgreSQL that several machines share: connections that notice a cut, patience, and one at a time."""

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
from thriftune.errors import UnavailableError

log = logging.getLogger(__name__)

POSTGRES = "postgresql"
PATIENCE_SECONDS = 600.0
"""How long a server that does not answer is waited for."""
LONGEST_PAUSE_SECONDS = 16.0
REFUSALS = (
    "authentication failed", "no password supplied", "does not exist", "permission denied",
    "no pg_hba.conf entry", "not permitted to log in",
)  # fmt: skip
"""What a server says that will say the same in ten minutes; libpq gives no code for it. In another language
than English it is waited for like silence."""
TURN_SECONDS = 2
"""How long one waits for a lock before looking at signals."""
KEEPALIVE: Mapping[str, int] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""On the client's side: a connection that was cut is an error after 20 s, not after minutes."""
SERVER_SETTINGS = {
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "user_timeout": 20_000,
}
SERVER_KEEPALIVE = " ".join(f"-c tcp_{name}={value}" for name, value in SERVER_SETTINGS.items())
"""On the server's: a worker that was cut off loses its locks after 20 s."""


def nothing() -> None:
    """What is done while one waits, where nothing is to be done."""


def connect(url: str, patience_seconds: int = KEEPALIVE["connect_timeout"]) -> psycopg.Connection[Any]:
    """A session in autocommit; UnavailableError where the server refuses this user or database. url: of
    SQLAlchemy's form."""
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
                f"PostgreSQL refuses the connection: {brief(error)}",
                where=without_password(url),
                remedy="look at the user, the password and the database's name in "
                "conf/local/credentials.yml; docs/several-machines.md says how they are made.",
            ) from error
        raise


def with_keepalive(url: str) -> str:
    """The URL with what `connect` asks for, for a library that takes nothing but a URL."""
    given = make_url(url)
    more = {key: str(value) for key, value in KEEPALIVE.items() if key not in given.query}
    return given.update_query_dict(more).render_as_string(hide_password=False)


def lock_key(name: str) -> int:
    """The 64-bit key of an advisory lock."""
    digest = hashlib.sha256(f"thriftune:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


@contextmanager
def turn(url: str, name: str, waiting: Callable[[], None] = nothing) -> Iterator[None]:
    """One process at a time, of all that use the server; waits for its turn."""
    session = patiently(lambda: _locked(url, lock_key(name), waiting), psycopg.OperationalError, url, waiting)
    try:
        yield
    finally:
        session.close()


def _locked(url: str, key: int, waiting: Callable[[], None]) -> psycopg.Connection[Any]:
    """A session with the lock, once it is free."""
    session = connect(url)
    try:
        session.execute("select set_config('lock_timeout', %s, false)", (f"{TURN_SECONDS}s",))
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


def patiently(
    call: Callable[[], T], temporary: type[Exception], url: str, waiting: Callable[[], None] = nothing
) -> T:
    """What `call` returns, tried again while the server does not answer; UnavailableError after
    PATIENCE_SECONDS. waiting: called several times a second meanwhile; may raise."""

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            log.warning(
                "PostgreSQL does not answer (%s); waiting for it, for %.0f minutes at most. Ctrl-C ends the "
                "wait; the address is in conf/local/credentials.yml",
                brief(state.outcome.exception()),
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
        before_sleep=tell,
        sleep=pause,
        reraise=True,
    )
    try:
        return trying(call)
    except temporary as error:
        raise UnavailableError(
            f"PostgreSQL has not answered for {PATIENCE_SECONDS:.0f} s: {brief(error)}",
            where=without_password(url),
            remedy="bring it back and give the same command again; what is done is kept.",
        ) from error


def brief(error: BaseException | None) -> str:
    """The first line of what a server says."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
