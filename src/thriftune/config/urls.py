"""Addresses of databases and servers."""

from __future__ import annotations

import re

OPTUNA_STORE = "postgresql"
"""The database that Optuna can keep a study in when several machines work on it."""


def without_password(url: str | None) -> str:
    """Return a URL without its user's password, which may contain an @ and may also stand among the options.

    Args:
        url: The URL. None: the result is empty.
    """
    bare = re.sub(r"(://[^:/@]*):[^/?]*@", r"\1@", url or "", count=1)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1", bare)


def with_driver(url: str | None) -> str | None:
    """Return a PostgreSQL's URL with the installed driver, psycopg 3; SQLAlchemy's default is another.

    Args:
        url: The URL; one that names a driver, one of another database and None are returned as they are.
    """
    plain = f"{OPTUNA_STORE}://"
    return url.replace(plain, f"{OPTUNA_STORE}+psycopg://", 1) if url and url.startswith(plain) else url
