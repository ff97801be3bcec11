"""This process and one store: what allows it to commit, which trial it runs, what it is writing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from thriftune.checkpoints.attempts import read_attempts
from thriftune.checkpoints.folders import TrialFolders
from thriftune.checkpoints.locks import FolderLocks, Owner

Reclaim = Callable[[Callable[[Path], None]], None]
"""Calls its argument with each folder that can be recreated and that no process is using."""


def reclaim_nothing(remove: Callable[[Path], None]) -> None:
    """Delete nothing: there is nothing outside the store that can be recreated.

    Args:
        remove: Not called.
    """


class Session:
    """What the parts of one store share. One thread of one process is in `exclusive` at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folders = TrialFolders(folder.absolute())
        self.locks = FolderLocks(folder)
        self.owner: Owner = self.locks
        self.trial: int | None = None
        """The trial that this process runs."""
        self.attempt = 1
        """The number of its attempt at it."""
        self.writing: Path | None = None
        """The temporary folder of the write in flight."""
        self.reclaim: Reclaim = reclaim_nothing
        """Deletes folders outside the store that can be recreated; they are deleted first under pressure."""
        self.pending_bytes: Callable[[], int] = int
        """How many bytes others are still going to write under the budget."""
        self.upkeep_seconds = 0.0
        """What saves took beside the writing of bytes."""
        self._lock = threading.RLock()
        self._depth = 0

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the store while entries are listed and plans are executed, not while tensors are written."""
        with self._lock, self._critical_section():
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def _critical_section(self) -> AbstractContextManager[None]:
        return nullcontext() if self._depth else self.owner.critical_section()

    @contextmanager
    def upkeep(self) -> Iterator[None]:
        """Count the seconds of the block as upkeep."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.upkeep_seconds += time.perf_counter() - started

    def running(self) -> set[int]:
        """Return the trials that are under way, here, elsewhere, or interrupted."""
        return {trial for trial, attempt in read_attempts(self.folder).items() if attempt.running}

    def works_elsewhere(self, trial: int) -> bool:
        """Return whether another process works on a trial.

        Args:
            trial: Number of one that is not over.
        """
        return trial != self.trial and self.owner.works_elsewhere(trial)
