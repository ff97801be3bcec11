"""A kernel lock on one file, which may say who holds it."""

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

import psutil

from thriftune import files

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 0.5
POLL_SECONDS = 0.05


class FileLock:
    """A kernel lock on one file, which may say who holds it."""

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self._mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._descriptor = -1

    def acquire(self, patience: float = PATIENCE_SECONDS) -> None:
        """Take the lock.

        It is tried for a while, since a process that only asks `is_held` holds it for an instant; and opened
        again where the file was deleted meanwhile: a lock on a file without a name keeps nobody out.

        Args:
            patience: Seconds to try.

        Raises:
            BlockingIOError: Another process holds it.
        """
        deadline = time.monotonic() + patience
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._descriptor, self._mode | fcntl.LOCK_NB)
                if self.is_in_place():
                    return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(self._descriptor)
                    raise
                time.sleep(POLL_SECONDS)
            os.close(self._descriptor)
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def sign(self, what: str) -> None:
        """Write down who holds it, and log where the last holder died of it.

        Args:
            what: What is owned, for the log.
        """
        # A lock that was released in order leaves an empty note.
        if (dead := self.owner()) is not None:
            log.info("took over %s from a process that %s: %s", what, dead.end, dead)
        self._note(json.dumps(asdict(Owner.this())))

    def owner(self) -> Owner | None:
        """Return who signed it last."""
        return _read(self.path)

    def is_in_place(self) -> bool:
        """Return whether the lock is on the file that others see."""
        try:
            return os.fstat(self._descriptor).st_ino == self.path.stat().st_ino
        except OSError:
            return False

    def is_held(self) -> bool:
        """Return whether a living process holds it, alone or with others."""
        try:
            with self.path.open() as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:  # also where it was given back just now
            return False
        except BlockingIOError:
            return True
        return False

    def release(self, *, remove: bool = False) -> None:
        """Let others have it.

        Args:
            remove: Delete its file too.
        """
        if remove:
            files.remove_file(self.path)
        elif self._mode == fcntl.LOCK_EX:
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
        """Return the calling process."""
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
        """How it ended, as far as that is known."""
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


def how_to_end(owner: Owner | None) -> str:
    """Return what to do about another process that owns the study.

    Args:
        owner: Who it is; None: that is not known.
    """
    if owner is None or not owner.is_here or not psutil.pid_exists(owner.pid):
        return "wait for it, or end it where it runs; its work is kept."
    if owner.is_stopped:
        return (
            f"it is suspended and still owns the study: `kill -CONT {owner.pid}` resumes it; `kill -KILL "
            f"{owner.pid}` ends it, and the same command then resumes the study."
        )
    return f"wait for it, or end it with `kill {owner.pid}`; its work is kept."


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
