"""Who owns a study: a kernel lock on a file, which the system takes from the dead (SPEC 7.4)."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from thriftune.errors import StudyError

LOCK = "study.lock"
PATIENCE_SECONDS = 0.5


def _locked(path: Path) -> int:
    """A descriptor that holds the lock; BlockingIOError where another process does.

    Tried for PATIENCE_SECONDS, since who only asks `is_held` holds it for an instant; and opened again where
    the file was deleted meanwhile: a lock on a file without a name keeps nobody out.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise
            time.sleep(0.05)
        os.close(descriptor)
        path.parent.mkdir(parents=True, exist_ok=True)


class StudyLock:
    """Owns a study for the time of a `with` block; StudyError names the other owner."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._descriptor = _locked(self._path)
        except BlockingIOError as error:
            holder = self._path.read_text(encoding="utf-8", errors="replace").strip()
            raise StudyError(
                f"another process works on this study: {holder or 'it does not say which'}",
                where=str(self._path),
                remedy="wait for it, or end it; what it has done is kept.",
            ) from error
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": Path(sys.argv[0]).name,
        }
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, json.dumps(note).encode("utf-8"))
        return self

    def is_held(self) -> bool:
        """Whether a living process owns the study."""
        if not self._path.exists():
            return False
        with self._path.open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
