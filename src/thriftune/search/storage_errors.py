"""Failures of Optuna's storage, as errors of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from thriftune import files
from thriftune.errors import UnavailableError, chain


class UnknownOutcomeError(Exception):
    """A server fell silent while a trial was added: it has the trial, or it does not.

    Whoever takes the lock again and reads the trials will see.
    """


class ServerSilentError(Exception):
    """The database server did not answer."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise UnavailableError for a failure of Optuna's storage in the block, or in the decorated function.

    It has failed for good: it stays locked, is damaged, or its server is gone. A full disk raises what it
    raised.

    Raises:
        UnavailableError: See above.
        StorageInternalError: The disk is full.
        SQLAlchemyError: The disk is full.
        sqlite3.Error: The disk is full.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        *_, cause = chain(error)  # the database's own error; Optuna's text names no reason
        if files.is_out_of_space(cause):
            raise
        raise UnavailableError(
            f"Optuna's database cannot be used: {str(cause).partition(chr(10))[0]}",
            remedy="free it and run the same command again; it resumes. If the database is damaged, "
            "`thriftune tracking rebuild` recreates it.",
        ) from error
