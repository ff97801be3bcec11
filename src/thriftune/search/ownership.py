"""Who owns a study: a kernel lock on a file, which the system takes from the dead (SPEC 7.4)."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from thriftune import files
from thriftune.errors import StudyError

log = logging.getLogger(__name__)

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
    """Owns a study for the time of a `with` block; StudyError names the other owner and how to end it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._descriptor = _locked(self._path)
        except BlockingIOError as error:
            owner = _read(self._path)
            raise StudyError(
                f"another process works on this study: {owner or 'it does not say which'}",
                where=str(self._path),
                remedy=_how_to_end(owner),
            ) from error
        # A lock that was released in order leaves an empty note.
        if (dead := _read(self._path)) is not None:
            log.info("adopted the study from a process that %s: %s", dead.end, dead)
        self._note(json.dumps(asdict(Owner.this())))
        return self

    def check(self) -> None:
        """StudyError where the lock is no longer on the file that others see: it was deleted by hand, and
        another process may own the study by now."""
        try:
            same = os.fstat(self._descriptor).st_ino == self._path.stat().st_ino
        except OSError:
            same = False
        if not same:
            raise StudyError(
                "the study's lock was deleted while this process worked: another one may own the study now, "
                "so nothing more is committed here",
                where=str(self._path),
                remedy="run the same command again; it goes on where the study is.",
            )

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
        self._note("")
        os.close(self._descriptor)

    def _note(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode("utf-8"), 0)


@dataclass(frozen=True)
class Owner:
    """What the lock's file says of who holds it. For people only: the kernel's lock decides."""

    pid: int
    host: str
    boot: str
    """The kernel's id of the machine's current start; another one after a restart."""
    since: str
    command: str

    @classmethod
    def this(cls) -> Owner:
        """The process that calls."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), _boot(), since, Path(sys.argv[0]).name)

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host} since {self.since} ({self.command})"

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine's current start."""
        return self.boot == _boot() and self.host == socket.gethostname()

    @property
    def end(self) -> str:
        """How it ended, as far as that can be told."""
        restarted = self.host == socket.gethostname() and self.boot != _boot()
        return "ended with an earlier start of this machine" if restarted else "was killed"

    @property
    def is_stopped(self) -> bool:
        """Whether it is held by SIGSTOP or a terminal's Ctrl-Z."""
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**files.read_json(path))
    except (OSError, ValueError, TypeError):
        return None


def _how_to_end(owner: Owner | None) -> str:
    if owner is None or not owner.is_here or not psutil.pid_exists(owner.pid):
        return "wait for it, or end it where it runs; what it has done is kept."
    if owner.is_stopped:
        return (
            f"it is stopped and still owns the study: `kill -CONT {owner.pid}` lets it go on, `kill -KILL "
            f"{owner.pid}` ends it, and the same command then goes on where it was."
        )
    return f"wait for it, or end it with `kill {owner.pid}`; what it has done is kept."


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
