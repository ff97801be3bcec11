"""Human lines on the terminal, JSON lines in a file; both pass the sanitiser."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from thriftune.files import append_all
from thriftune.observe.sanitiser import Sanitiser

log = logging.getLogger(__name__)

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


def log_place(**fields: Any) -> None:
    """As log_context, from here to the end of the block around it."""
    _CONTEXT.set({**_CONTEXT.get(), **fields})


class _Lines(logging.Formatter):
    def __init__(self, sanitiser: Sanitiser) -> None:
        super().__init__()
        self._sanitiser = sanitiser

    def _said(self, record: logging.LogRecord) -> str:
        """The message with its traceback."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a library's arguments do not fit its text
            message = f"{record.msg} {record.args!r}"
        return f"{message}\n{self.formatException(record.exc_info)}" if record.exc_info else message


class JsonLines(_Lines):
    """timestamp, level, message, component, and the context's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object on one line, in ASCII: half a character has no other form, and some readers end a
        line at U+2028."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "timestamp": moment,
            "level": record.levelname,
            "message": self._said(record),
            "component": record.name,
            **_CONTEXT.get(),
        }
        return json.dumps(self._sanitiser.clean_value(line), default=str)


class HumanLines(_Lines):
    """What a person reads: the message, with its level where it matters."""

    def format(self, record: logging.LogRecord) -> str:
        """`12:34:56 message`, warnings marked."""
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        mark = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return self._sanitiser.clean(f"{moment} {mark}{self._said(record)}")


class Terminal(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at that moment: under a live line, to what prints above it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Looked up for every record."""
        return sys.stderr


class LineFile(logging.Handler):
    """Appends each record as one line by one write, so that lines of threads and of forked processes never
    mix; the first record makes the file.

    What cannot be written is dropped whole. A kill in the middle of a write leaves part of a line at the
    end, which `mend` cuts off: the file is locked as long as its process lives.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._descriptor = path, -1

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line; a log that cannot be written stops nothing."""
        with suppress(Exception):
            self._append((self.format(record) + "\n").encode())

    def _append(self, line: bytes) -> None:
        if self._descriptor < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        append_all(self._descriptor, line)

    def close(self) -> None:
        """Let the file go; a later record opens it again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        super().close()


def mend(log_root: Path) -> None:
    """Cut off what killed processes left of their last lines; the logs of living ones are let be."""
    for path in log_root.glob("*.jsonl"):
        with suppress(OSError), path.open("r+b") as log:
            if log.seek(0, os.SEEK_END) == 0:
                continue
            log.seek(-1, os.SEEK_END)
            if log.read(1) != b"\n":
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                log.seek(0)
                log.truncate(log.read().rfind(b"\n") + 1)


def setup(log_root: Path, sanitiser: Sanitiser) -> Path:
    """Send the root logger to the terminal (stderr) and to a JSON-lines file named after the start.

    Calling it again replaces what the first call set up. A log that cannot be written stops nothing. What
    escapes a thread is logged too.
    """
    mend(log_root)
    path = log_root / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.jsonl"
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler, formatter in (
        (Terminal(), HumanLines(sanitiser)),
        (LineFile(path), JsonLines(sanitiser)),
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
    threading.excepthook = _log_escaped
    return path


def _log_escaped(escaped: threading.ExceptHookArgs) -> None:
    name = escaped.thread.name if escaped.thread is not None else "that is gone"
    error = escaped.exc_value
    log.error("the thread %s died", name, exc_info=error if error is not None else True)


def log_end(message: str, error: BaseException | None) -> None:
    """What ended the run, for its file alone: the terminal has it. error: one whose traceback helps."""
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = log.makeRecord(log.name, logging.ERROR, "", 0, message, (), exc_info)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineFile):
            handler.handle(record)
