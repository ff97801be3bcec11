"""Addresses of databases and servers."""

from __future__ import annotations

import re

OPTUNA_STORE = "postgresql"
"""What Optuna can keep a study in that several machines work on."""


def without_password(url: str | None) -> str:
    """A URL without the password of its user, which may hold an @ and may stand among the options too."""
    bare = re.sub(r"(://[^:/@]*):[^/?]*@", r"\1@", url or "", count=1)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1", bare)


def with_driver(url: str | None) -> str | None:
    """psycopg 3 is the driver that is installed; SQLAlchemy's own default is another."""
    plain = f"{OPTUNA_STORE}://"
    return url.replace(plain, f"{OPTUNA_STORE}+psycopg://", 1) if url and url.startswith(plain) else url
