"""Who owns a study, and who a trial of it: kernel locks on files, which the system takes from the dead.

One process owns a study, or several share it and each owns the trials that it works on. On one
machine, containers included, that is `StudyLock`; for workers on several machines see postgres.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import psutil

from thriftune import files
from thriftune.errors import RefusedError, StudyError
from thriftune.study.opening import FILES, require_arbiter

if TYPE_CHECKING:
    from thriftune.checkpoints.store import CheckpointStore

log = logging.getLogger(__name__)

LOCK, LOCKS = "study.lock", "locks"
STORAGE, TRIALS = "storage", "trials"
"""What one process of a shared study does at a time: plan and commit checkpoints; choose a trial."""
PATIENCE_SECONDS, TAKING_SECONDS = 0.5, 0.1
POLL_SECONDS = 0.05


class Ownership(Protocol):
    """A study, or a share of it, for the time of a `with` block. StudyError where others stand against it."""

    shared: bool
    """Other processes may work on other trials of it."""
    arbiter: str
    """What grants it: locks on this machine's files, or those of one server. Known inside the block."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def check(self) -> None:
        """Raise unless this process still owns what it took: StudyError, or TakenOverError for a trial."""

    def check_quickly(self) -> None:
        """Raise as `check` does, from what is known already; no server is asked."""

    def take(self, trial: int, *, adopting: bool = False) -> bool:
        """Own a trial of a shared study, unless another process has it.

        Args:
            trial: The trial's number.
            adopting: The trial was begun by another process.

        Returns:
            Whether this process owns it now.
        """

    def give_back(self, trial: int) -> None:
        """Own a trial no longer.

        Args:
            trial: The trial's number.
        """

    def is_taken(self, trial: int) -> bool:
        """Return whether another process owns a trial of a shared study.

        Args:
            trial: The trial's number.
        """

    def await_owners(self) -> None:
        """Wait until owners that have lost the server have had the time to come back."""

    def alone(self, deed: str) -> AbstractContextManager[None]:
        """Wait for a section that only one process of a shared study is in at a time.

        Args:
            deed: Name of the section.

        Returns:
            The section, for a `with` block.
        """

    def is_held(self) -> bool:
        """Return whether any process works on the study."""


def running_elsewhere(store: CheckpointStore, ownership: Ownership) -> set[int]:
    """Return the numbers of the trials that other processes work on.

    Args:
        store: The study's checkpoints.
        ownership: This process's share of the study.
    """
    return {trial for trial in store.trials.running() if ownership.is_taken(trial)}


def guard_of(ownership: Ownership) -> Callable[[], AbstractContextManager[None]] | None:
    """Return the section in which one process at a time plans and commits checkpoints; None for one alone.

    Args:
        ownership: This process's share of the study.
    """
    return (lambda: ownership.alone(STORAGE)) if ownership.shared else None


class StudyLock:
    """Ownership of a study by locks on files in its folder."""

    arbiter = FILES

    def __init__(
        self,
        folder: Path,
        *,
        shared: bool = False,
        waiting: Callable[[], None] = lambda: None,
        moving: bool = False,
    ) -> None:
        """Prepare the locks; nothing is owned before the `with` block.

        Args:
            folder: The study's.
            shared: Other processes may work on other trials.
            waiting: Called while another process is waited for; may raise.
            moving: The record may name another arbiter.
        """
        self.shared, self._moving = shared, moving
        self._folder, self._waiting = folder, waiting
        self._study = _FileLock(folder / LOCK, shared=shared)
        self._trials: dict[int, _FileLock] = {}

    def __enter__(self) -> Self:
        try:
            self._study.acquire()
        except BlockingIOError as error:
            raise self._refusal() from error
        try:
            self._require_arbiter()
            if not self.shared:
                self._study.sign("the study")
        except BaseException:
            self._study.release()
            raise
        return self

    def _require_arbiter(self) -> None:
        if not self._moving:
            require_arbiter(self._folder, self.arbiter)

    def _refusal(self) -> RefusedError:
        owners = [self._study.owner(), *(self._trial(trial).owner() for trial in self._taken())]
        known = [owner for owner in owners if owner is not None]
        names = "; ".join(str(owner) for owner in known) or "it does not say which"
        return RefusedError(
            f"another process works on this study: {names}",
            where=str(self._folder / LOCK),
            remedy=_how_to_end(known[0] if known else None),
        )

    def check(self) -> None:
        """Raise unless the files of this process's locks are still there.

        Raises:
            StudyError: One was deleted, so that another process may own the study.
        """
        for lock in (self._study, *self._trials.values()):
            if not lock.is_in_place():
                raise StudyError(
                    "the study's lock was deleted while this process worked: another one may own the study "
                    "now, so nothing more is committed here",
                    where=str(lock.path),
                    remedy="run the same command again; it goes on where the study is.",
                )

    check_quickly = check

    def take(self, trial: int, *, adopting: bool = False) -> bool:
        """Own a trial of a shared study, unless another process has it.

        Args:
            trial: The trial's number.
            adopting: The trial was begun by another process.

        Returns:
            Whether this process owns it now.
        """
        if not self.shared or trial in self._trials:
            return True
        lock = self._trial(trial)
        try:
            lock.acquire(TAKING_SECONDS)
        except BlockingIOError:
            return False
        lock.sign(f"trial {trial}")
        self._trials[trial] = lock
        return True

    def give_back(self, trial: int) -> None:
        """Own a trial no longer.

        Args:
            trial: The trial's number.
        """
        if (lock := self._trials.pop(trial, None)) is not None:
            lock.release(remove=True)

    def is_taken(self, trial: int) -> bool:
        """Return whether another process owns a trial of a shared study.

        Args:
            trial: The trial's number.
        """
        return self.shared and trial not in self._trials and self._trial(trial).is_held()

    @contextmanager
    def _turn(self, deed: str) -> Iterator[None]:
        lock = _FileLock(self._folder / LOCKS / f"{deed}.lock")
        while True:
            try:
                lock.acquire()
                break
            except BlockingIOError:
                self._waiting()
        try:
            yield
        finally:
            lock.release()

    def alone(self, deed: str) -> AbstractContextManager[None]:
        """Wait for a section that only one process of a shared study is in at a time.

        Args:
            deed: Name of the section.

        Returns:
            The section, for a `with` block.
        """
        return self._turn(deed) if self.shared else nullcontext()

    def await_owners(self) -> None:
        """Return at once: a process that lives does not lose a lock of the kernel."""

    def is_held(self) -> bool:
        """Return whether any process works on the study."""
        self._require_arbiter()
        return self._study.is_held()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for trial in list(self._trials):
            self.give_back(trial)
        self._study.release()

    def _trial(self, trial: int) -> _FileLock:
        return _FileLock(self._folder / LOCKS / f"trial_{trial:04d}.lock")

    def _taken(self) -> list[int]:
        # Not `is_taken`: who is refused may want the whole study, of which others share the trials.
        found = sorted((self._folder / LOCKS).glob("trial_*.lock"))
        trials = [int(path.stem.split("_")[1]) for path in found]
        return [trial for trial in trials if self._trial(trial).is_held()]


class _FileLock:
    """A kernel lock on one file, which may say who holds it."""

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self._mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._descriptor = -1

    def acquire(self, patience: float = PATIENCE_SECONDS) -> None:
        """Take the lock.

        It is tried for a while, since a process that only asks `is_held` holds it for an instant; and opened
        again where the file was deleted meanwhile: a lock on a file without a name keeps nobody out.

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
        """Write down who holds it; say so where the last holder died of it."""
        # A lock that was released in order leaves an empty note.
        if (dead := self.owner()) is not None:
            log.info("adopted %s from a process that %s: %s", what, dead.end, dead)
        self._note(json.dumps(asdict(Owner.this())))

    def owner(self) -> Owner | None:
        """Who signed it last."""
        return _read(self.path)

    def is_in_place(self) -> bool:
        """Whether the lock is on the file that others see."""
        try:
            return os.fstat(self._descriptor).st_ino == self.path.stat().st_ino
        except OSError:
            return False

    def is_held(self) -> bool:
        """Whether a living process holds it, alone or with others."""
        try:
            with self.path.open() as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:  # also where it was given back just now
            return False
        except BlockingIOError:
            return True
        return False

    def release(self, *, remove: bool = False) -> None:
        """Let others have it; remove: its file too."""
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
