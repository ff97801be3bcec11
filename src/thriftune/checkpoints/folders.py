"""The trials' folders of one study: which epochs stand in them, and how many bytes they hold.

A search asks several times an epoch, and a thousand folders take a tenth of a second to walk. Those of trials
that are over and have no checkpoint left are therefore walked once: nothing in them changes any more but for
the note of how far a journal was sent. Every other folder is read each time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from thriftune import files

TRIALS, TRIAL, CHECKPOINTS, EPOCH = "trials", "trial_", "checkpoints", "epoch_"
TICK_NS = 2 * 10**9
"""A folder that changed so lately may change again without another time of change: it is not remembered."""
SHARES = 20
"""In so many trials every folder that is remembered is looked at again."""


@dataclass(frozen=True)
class _Finished:
    changed_ns: int
    size: int


class TrialFolders:
    """What lies below `trials/` of a study's folder."""

    def __init__(self, study: Path) -> None:
        self._study, self._root = study, study / TRIALS
        self._finished: dict[str, _Finished] = {}
        self._round = 0

    def mark_finished(self, over: Collection[int]) -> None:
        """Note which trials are over; called once a trial.

        Each time another share of what is remembered is looked at again, and forgotten where it changed.

        Args:
            over: Numbers of all trials that are over, whoever ran them.
        """
        before, known = self._finished, dict[str, _Finished]()
        self._round += 1
        for entry in self._scan():
            number = trial_number(entry.name)
            if number not in over:
                continue
            if entry.name in before and (number + self._round) % SHARES:
                known[entry.name] = before[entry.name]
                continue
            changed_ns = entry.stat(follow_symlinks=False).st_mtime_ns
            if entry.name in before and before[entry.name].changed_ns == changed_ns:
                known[entry.name] = before[entry.name]
            elif time.time_ns() - changed_ns > TICK_NS and not any(_scan(Path(entry.path, CHECKPOINTS))):
                known[entry.name] = _Finished(changed_ns, files.directory_bytes(Path(entry.path)))
        self._finished = known  # one assignment: other threads see the old or the new

    def reopen(self, number: int) -> None:
        """Note that a trial is going to change: its folder is read each time again.

        Args:
            number: The trial's number.
        """
        self._finished = {
            name: known for name, known in self._finished.items() if trial_number(name) != number
        }

    def epochs(self) -> Iterator[Path]:
        """Yield every folder that is named as a committed checkpoint, relative to the study's folder."""
        finished = self._finished
        for trial in self._scan():
            if trial.name.startswith(TRIAL) and trial.name not in finished:
                for entry in _scan(Path(trial.path, CHECKPOINTS)):
                    if entry.name.startswith(EPOCH):
                        yield Path(TRIALS, trial.name, CHECKPOINTS, entry.name)

    def held_bytes(self, *others: Path) -> int:
        """Return the bytes of the study's folder, and of others, each inode once.

        Args:
            others: Folders outside the study's.
        """
        finished = self._finished
        size = sum(known.size for known in finished.values())
        walked: list[Path] = []
        for entry in self._scan():
            if entry.name in finished:
                continue
            if entry.is_dir(follow_symlinks=False):
                walked.append(Path(entry.path))
            else:
                size += entry.stat(follow_symlinks=False).st_size
        return size + files.directory_bytes(self._study, *walked, *others, skipped=(str(self._root),))

    def _scan(self) -> list[os.DirEntry[str]]:
        return _scan(self._root)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def trial_number(name: str) -> int:
    """Return the number of a trial; -1 where the name is not a trial's.

    Args:
        name: Of a folder, such as trial_0012_0a1b2c3d.
    """
    part = name.removeprefix(TRIAL).partition("_")[0]
    return int(part) if name.startswith(TRIAL) and part.isdecimal() else -1
