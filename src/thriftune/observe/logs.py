"""Human lines on the terminal, JSON lines in a file; both pass the sanitiser."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from thriftune.observe.sanitiser import Sanitiser

_CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("thriftune_log_context", default=MappingProxyType({}))
QUIET = ("kedro", "kedro_mlflow", "kedro_viz", "mlflow", "alembic", "optuna", "datasets", "httpx", "filelock")


MUTED = (
    "urllib3.connectionpool",  # each try of a call to a server that is away, which the sender reports
    "mlflow.store",  # tracebacks of what the sender reports in one line
    "kedro.validation",  # node functions name types that are imported for the type checker only
    "kedro.pipeline",  # says again what the command says
    "kedro.runner",  # advises --from-nodes after an error, where the same command is right
)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Fields (study, trial, epoch, step) that every line of the block carries."""
    token = _CONTEXT.set({**_CONTEXT.get(), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


class JsonLines(logging.Formatter):
    """timestamp, level, message, component, and the context's fields."""

    def __init__(self, sanitiser: Sanitiser) -> None:
        super().__init__()
        self._sanitiser = sanitiser

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object on one line."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "timestamp": moment,
            "level": record.levelname,
            "message": message,
            "component": record.name,
            **_CONTEXT.get(),
        }
        return json.dumps(self._sanitiser.clean_value(line), ensure_ascii=False, default=str)


class HumanLines(logging.Formatter):
    """What a person reads: the message, with its level where it matters."""

    def __init__(self, sanitiser: Sanitiser) -> None:
        super().__init__()
        self._sanitiser = sanitiser

    def format(self, record: logging.LogRecord) -> str:
        """`12:34:56 message`, warnings marked."""
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        mark = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = f"{moment} {mark}{record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return self._sanitiser.clean(text)


def setup(log_root: Path, sanitiser: Sanitiser) -> Path:
    """Send the root logger to the terminal (stderr) and to a JSON-lines file named after the start.

    Calling it again replaces what the first call set up. A log that cannot be written stops nothing.
    """
    log_root.mkdir(parents=True, exist_ok=True)
    path = log_root / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.jsonl"
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler, formatter in (
        (logging.StreamHandler(sys.stderr), HumanLines(sanitiser)),
        (logging.FileHandler(path, encoding="utf-8", delay=True), JsonLines(sanitiser)),
    ):
        handler.setFormatter(formatter)
        handler.handleError = lambda record: None  # type: ignore[method-assign]
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in QUIET:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.WARNING)
        logger.propagate = True
    for name in MUTED:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return path
