"""Optuna's and Alembic's messages of success are not shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import optuna


@contextmanager
def hide_progress_messages() -> Iterator[None]:
    """Log nothing below a warning of Optuna, nor of its tables' migration, in the block.

    "A new study created" would be said of every proposal. Levels are as before afterwards: they are the host
    program's.
    """
    optuna.logging.get_verbosity()  # has Optuna set its own level first
    loggers = [logging.getLogger(name) for name in ("optuna", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.WARNING))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
