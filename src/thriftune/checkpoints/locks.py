"""What allows this process to commit to a store: locks in its folder, or whoever owns the study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from thriftune import files
from thriftune.errors import RefusedError, StudyError

LOCKS = "locks"


class Owner(Protocol):
    """Who may commit."""

    @property
    def shared(self) -> bool:
        """Return whether other processes may work on the store too."""

    def check(self) -> None:
        """Raise unless this process may still commit."""

    def critical_section(self) -> AbstractContextManager[None]:
        """Return the context in which one process alone plans, deletes and commits."""

    def works_elsewhere(self, trial: int) -> bool:
        """Return whether another process works on a trial.

        Args:
            trial: Number of one that is not over and not this process's.
        """


class FolderLocks:
    """Locks on files in the store's folder, which the system takes from the dead.

    Two stores of one folder exclude each other, in one process as in two.
    """

    shared = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder / LOCKS

    def check(self) -> None:
        """Return: nobody loses a lock of the kernel's and lives on."""

    def critical_section(self) -> AbstractContextManager[None]:
        """Return the context in which one process alone plans, deletes and commits."""
        return files.file_lock(self._folder / "storage")

    def works_elsewhere(self, trial: int) -> bool:
        """Return whether a store, of this process or another, runs a trial.

        Args:
            trial: Its number.
        """
        if not self._folder.is_dir():
            return False
        try:
            with files.file_lock(self._trial(trial), wait=False):
                return False
        except TimeoutError:
            return True

    @contextmanager
    def hold(self, trial: int, name: str) -> Iterator[None]:
        """Own a trial for the block.

        Args:
            trial: Its number.
            name: What a message calls it.

        Raises:
            RefusedError: Another store, of this process or another, runs it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(files.file_lock(self._trial(trial), wait=False))
            except TimeoutError as error:
                raise RefusedError(
                    f"{name} is already running in another process, or in another store of this one",
                    where=str(self._folder.parent),
                    remedy="wait for it to end, or choose another name.",
                ) from error
            yield

    def _trial(self, trial: int) -> Path:
        return self._folder / f"run_{trial:04d}"


@dataclass(frozen=True)
class GivenOwner:
    """An owner of the whole study, or of a share of it, from outside this package."""

    check: Callable[[], None]
    guard: Callable[[], AbstractContextManager[None]] | None
    """None: no other process works on the study."""

    @property
    def shared(self) -> bool:
        """Return whether other processes may work on the store too."""
        return self.guard is not None

    def critical_section(self) -> AbstractContextManager[None]:
        """Return the context in which one process alone plans, deletes and commits."""
        return nullcontext() if self.guard is None else self.guard()

    def works_elsewhere(self, trial: int) -> bool:
        """Return whether others may work on a trial: on all but this process's where the study is shared.

        Args:
            trial: Its number.
        """
        return self.shared


class NoOwner:
    """After a run whose last write was not waited for: nothing of it is committed any more."""

    shared = False

    def check(self) -> None:
        """Raise.

        Raises:
            StudyError: Always.
        """
        raise StudyError("the run has ended; what it was still writing is not committed")

    def critical_section(self) -> AbstractContextManager[None]:
        """Return an empty context: nobody commits."""
        return nullcontext()

    def works_elsewhere(self, trial: int) -> bool:
        """Return that nobody does.

        Args:
            trial: Its number.
        """
        return False
