"""What this process is doing with the checkpoints of one study.

The catalog holds two entries on one store (Kedro forbids one dataset as input and output of a node), so two
`CheckpointStore` objects stand on one folder: the one that training reads from and the one that saves. What
is being written belongs to the folder, not to either of them. What other processes must know too (which
trials are running, and from where) stands in the folder itself: see attempts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from thriftune.checkpoints.folders import TrialFolders
from thriftune.checkpoints.retention import Key
from thriftune.checkpoints.writer_thread import Writer
from thriftune.errors import StudyError
from thriftune.observe.stopwatch import Stopwatch


def do_nothing() -> None:
    """What is done before a commit that needs no owner."""


def commit_nothing() -> None:
    """What is asked before a commit that comes too late."""
    raise StudyError("the run has ended; what it was still writing is not committed")


Disposal = Callable[[Callable[[Path], None]], None]
"""Calls what it is given for each folder that can be made again and that nobody uses meanwhile."""


def dispose_of_nothing(remove: Callable[[Path], None]) -> None:
    """The disposal where nothing outside the store can be made again."""


Guard = Callable[[], AbstractContextManager[None]]


def alone() -> AbstractContextManager[None]:
    """The guard where no other process works on the study."""
    return nullcontext()


@dataclass
class Activity:
    """This process's trial, and its write in flight."""

    folders: TrialFolders
    own: int | None = None
    """The trial that this process runs."""
    attempt: int = 1
    """The number of its attempt at it."""
    guard: Guard = alone
    """One process at a time is in it: planning, deleting, committing."""
    shared: bool = False
    """Other processes may work on the study too."""
    dispose: Disposal = dispose_of_nothing
    """Of folders outside the store: the first to go under pressure."""
    promised: Callable[[], int] = lambda: 0
    """Bytes that count against the budget and that others are still going to write."""
    before_commit: Callable[[], None] = do_nothing
    """Raises where this process no longer owns the study."""
    writing: Path | None = None
    """The temporary folder of the write in flight."""
    told: dict[str, set[Key]] = field(default_factory=lambda: {"strip": set(), "delete": set()})
    """What a dry run has said already."""
    writer: Writer = field(default_factory=Writer)
    upkeep: Stopwatch = field(default_factory=Stopwatch)
    """What saves took beside the writing of bytes."""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _depth: int = 0

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held while entries are listed and plans are carried out, not while tensors are written: by one
        thread of one process."""
        with self._lock, alone() if self._depth else self.guard():
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1


_activities: dict[Path, Activity] = {}


def activity_in(folder: Path) -> Activity:
    """The one of a study's folder."""
    place = folder.absolute()
    return _activities.setdefault(place, Activity(TrialFolders(place)))
