"""Who owns a study, and who a trial of it: kernel locks on files, which the system takes from the dead.

One process owns a study, or several share it and each owns the trials that it works on. On one
machine, containers included, that is `StudyLock`; for workers on several machines see postgres.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from thriftune.errors import RefusedError, StudyError
from thriftune.study.lock_file import FileLock, how_to_end
from thriftune.study.opening import FILES, require_arbiter

if TYPE_CHECKING:
    from thriftune.checkpoints.store import CheckpointStore

log = logging.getLogger(__name__)

LOCK, LOCKS = "study.lock", "locks"
STORAGE, TRIALS = "storage", "trials"
"""What one process of a shared study does at a time: plan and commit checkpoints; choose a trial."""
TAKING_SECONDS = 0.1


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

    def release(self, trial: int) -> None:
        """Release a trial that this process owns.

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

    def section(self, name: str) -> AbstractContextManager[None]:
        """Enter a section that only one process of a shared study is in at a time, once it is free.

        Args:
            name: Its name.

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


def storage_section(ownership: Ownership) -> Callable[[], AbstractContextManager[None]] | None:
    """Return the section in which one process at a time commits checkpoints; None if there is only one.

    Args:
        ownership: This process's share of the study.
    """
    return (lambda: ownership.section(STORAGE)) if ownership.shared else None


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
        self._study = FileLock(folder / LOCK, shared=shared)
        self._trials: dict[int, FileLock] = {}

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
        names = "; ".join(str(owner) for owner in known) or "its owner is not recorded"
        return RefusedError(
            f"another process is working on this study: {names}",
            where=str(self._folder / LOCK),
            remedy=how_to_end(known[0] if known else None),
        )

    def check(self) -> None:
        """Raise unless the files of this process's locks are still there.

        Raises:
            StudyError: One was deleted, so that another process may own the study.
        """
        for lock in (self._study, *self._trials.values()):
            if not lock.is_in_place():
                raise StudyError(
                    "the study's lock was deleted while this process was working: another one may own the "
                    "study now, so nothing more is committed here",
                    where=str(lock.path),
                    remedy="run the same command again; it resumes the study.",
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

    def release(self, trial: int) -> None:
        """Release a trial that this process owns.

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
    def _locked_section(self, name: str) -> Iterator[None]:
        lock = FileLock(self._folder / LOCKS / f"{name}.lock")
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

    def section(self, name: str) -> AbstractContextManager[None]:
        """Enter a section that only one process of a shared study is in at a time, once it is free.

        Args:
            name: Its name.

        Returns:
            The section, for a `with` block.
        """
        return self._locked_section(name) if self.shared else nullcontext()

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
            self.release(trial)
        self._study.release()

    def _trial(self, trial: int) -> FileLock:
        return FileLock(self._folder / LOCKS / f"trial_{trial:04d}.lock")

    def _taken(self) -> list[int]:
        # Not `is_taken`: who is refused may want the whole study, of which others share the trials.
        found = sorted((self._folder / LOCKS).glob("trial_*.lock"))
        trials = [int(path.stem.split("_")[1]) for path in found]
        return [trial for trial in trials if self._trial(trial).is_held()]
