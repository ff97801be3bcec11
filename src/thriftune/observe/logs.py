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
from typing import TextIO

from thriftune.files import append_all
from thriftune.observe.sanitiser import Sanitiser

log = logging.getLogger(__name__)

_CONTEXT: ContextVar[Mapping[str, str | int]] = ContextVar(
    "thriftune_log_context", default=MappingProxyType({})
)
QUIET = ("kedro", "kedro_mlflow", "kedro_viz", "mlflow", "alembic", "optuna", "datasets", "httpx", "filelock")
"""Loggers of which only warnings and errors are shown."""

MUTED = (
    "urllib3.connectionpool",  # each try of a call to a server that is away, which the sender reports
    "mlflow.store",  # tracebacks of what the sender reports in one line
    "kedro.validation",  # node functions name types that are imported for the type checker only
    "kedro.pipeline",  # repeats what the command says
    "kedro.runner",  # advises --from-nodes after an error, where the same command is right
)
"""Loggers of which nothing is shown."""


@contextmanager
def log_context(**fields: str | int) -> Iterator[None]:
    """Add fields to every line that is logged in the block.

    Args:
        **fields: Their values by name: study, trial, epoch, step.
    """
    token = _CONTEXT.set({**_CONTEXT.get(), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def log_place(**fields: str | int) -> None:
    """Add fields to every line from here to the end of the surrounding log_context.

    Args:
        **fields: Their values by name, as for log_context.
    """
    _CONTEXT.set({**_CONTEXT.get(), **fields})


class _Lines(logging.Formatter):
    def __init__(self, sanitiser: Sanitiser) -> None:
        super().__init__()
        self._sanitiser = sanitiser

    def _text(self, record: logging.LogRecord) -> str:
        """Return the message with its traceback."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a library's arguments do not fit its text
            message = f"{record.msg} {record.args!r}"
        return f"{message}\n{self.formatException(record.exc_info)}" if record.exc_info else message


class JsonLines(_Lines):
    """Lines of JSON: timestamp, level, message, component, and the fields of the context."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one JSON object on one line.

        It is in ASCII: half a character has no other form, and some readers end a line at U+2028.

        Args:
            record: What was logged.
        """
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "timestamp": moment,
            "level": record.levelname,
            "message": self._text(record),
            "component": record.name,
            **_CONTEXT.get(),
        }
        return json.dumps(self._sanitiser.clean_value(line), default=str)


class HumanLines(_Lines):
    """Lines for people: `12:34:56 message`, with the level of warnings and errors."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line.

        Args:
            record: What was logged.
        """
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        mark = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return self._sanitiser.clean(f"{moment} {mark}{self._text(record)}")


class Terminal(logging.StreamHandler[TextIO]):
    """Writes to whatever sys.stderr is at the moment: under a live line, what prints above it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """sys.stderr, looked up for every record."""
        return sys.stderr


class LineFile(logging.Handler):
    """Appends each record as one line by one write; the first record creates the file.

    So lines of threads and of forked processes never mix. What cannot be written is dropped whole. A kill in
    the middle of a write leaves part of a line at the end, which the next start cuts off: the file is locked
    as long as its process lives.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet.

        Args:
            path: The file.
        """
        super().__init__()
        self._path, self._descriptor = path, -1

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line; a log that cannot be written stops nothing.

        Args:
            record: What was logged.
        """
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
        """Close the file; a later record opens it again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        super().close()


def _cut_torn_lines(log_root: Path) -> None:
    """Cut off what killed processes left of their last lines; logs of living ones are left alone."""
    for path in log_root.glob("*.jsonl"):
        with suppress(OSError), path.open("r+b") as log:
            if log.seek(0, os.SEEK_END) == 0:
                continue
            log.seek(-1, os.SEEK_END)
            if log.read(1) != b"\n":
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                log.seek(0)
                log.truncate(log.read().rfind(b"\n") + 1)


def set_up_logs(log_root: Path, sanitiser: Sanitiser) -> Path:
    """Send all logs of this process to stderr and to a JSON-lines file, and errors that end a thread too.

    Calling it again replaces what the first call set up. A log that cannot be written stops nothing.

    Args:
        log_root: The folder of the file.
        sanitiser: Masks secrets in every line.

    Returns:
        The file, which is named after the start and created with the first line.
    """
    _cut_torn_lines(log_root)
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
    threading.excepthook = _log_thread_error
    return path


def _log_thread_error(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread is not None else "that is gone"
    error = ended.exc_value
    log.error("the thread %s died", name, exc_info=error if error is not None else True)


def log_end(message: str, error: BaseException | None) -> None:
    """Log what ended the run, in its file alone: the terminal shows it anyway.

    Args:
        message: What the user is shown.
        error: An error whose traceback helps. None: the message says it all.
    """
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = log.makeRecord(log.name, logging.ERROR, "", 0, message, (), exc_info)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineFile):
            handler.handle(record)
