"""The groups of moments at which a run may be killed, and which of them an end belongs to."""

from __future__ import annotations

import random
import re
import signal
from dataclasses import dataclass

FIRST = "before the first checkpoint"
SAVE = "in a save"
TORN = "torn write"
PRUNING = "in pruning"
STORES = "between two stores"
RESUME = "in a resume"
SIGNAL = "at a signal"
GROUPS = (FIRST, SAVE, TORN, PRUNING, STORES, RESUME, SIGNAL)

EARLY = 40
"""Operations within which a start that resumes is ended."""
ANY = "any"
BETWEEN = "between stores"
"""Counted beside the kinds: writes to one database after a transaction of the other."""
DATABASES = ("mlflow.db", "optuna.db")
WRITES = ("insert", "update", "delete")


AIMS = {
    TORN: ("append metrics.jsonl",),
    FIRST: ("append metrics.jsonl", "optuna_add_trial small-N", "create model.safetensors"),
    RESUME: (ANY,),
    SAVE: ("write optimizer.safetensors", "fsync_directory .tmp-epoch_N", "rename epoch_N"),
    SIGNAL: ("append metrics.jsonl",),
    PRUNING: ("rename .tmp-deleted-epoch_N", "unlink manifest.json", "rmdir .tmp-deleted-epoch_N"),
    STORES: (BETWEEN,),
}
"""Kinds at which a group is met, the groups in the order in which they are aimed at."""
SIGNALS = ((signal.SIGTERM,), (signal.SIGINT, signal.SIGINT))


@dataclass(frozen=True)
class Moment:
    """When a process ends, and how."""

    kind: str = ANY
    at: int = 0
    """The n-th of the kind; 0: never."""
    latest: int = 0
    """Where the kind does not come: after so many operations of any kind; 0: never."""
    torn: bool = False
    """Write the first half of the bytes before the end, where the kind is a write."""
    signals: tuple[int, ...] = (signal.SIGKILL,)


@dataclass(frozen=True)
class End:
    """Where a process ended, as it noted itself just before."""

    kind: str
    folder: str = ""
    """What the file lies in, numbers replaced: `.tmp-epoch_N`."""
    torn: bool = False
    """In the middle of the bytes of a write."""
    operations: int = 0
    """Of this process, the last one included."""
    committed: str = ""
    """The database whose transaction was the last to be committed."""
    by_signal: bool = False
    """By SIGTERM or SIGINT, which the process may answer; else by SIGKILL."""


def groups_of(end: End, *, resumes: bool, has_checkpoint: bool) -> frozenset[str]:
    """Return the groups that an end belongs to.

    Args:
        end: Where the process ended.
        resumes: Whether it had begun on what a killed process left.
        has_checkpoint: Whether a checkpoint was committed when it ended.
    """
    if end.by_signal:
        return frozenset({SIGNAL})
    met = {
        FIRST: not has_checkpoint,
        SAVE: is_in_a_save(end),
        TORN: end.torn,
        PRUNING: is_in_pruning(end),
        STORES: is_between_stores(end),
        RESUME: resumes and end.operations <= EARLY,
    }
    return frozenset(name for name, found in met.items() if found)


def next_group(met: set[str], *, fresh: bool, resumes: bool) -> str | None:
    """Return the group that a life should aim at, or None where all it can meet were met.

    Args:
        met: The groups that were met.
        fresh: Whether the life begins a study.
        resumes: Whether it begins on what a killed process left.
    """
    possible = {FIRST: fresh, TORN: fresh, RESUME: resumes}
    left = (group for group in AIMS if group not in met and possible.get(group, True))
    return next(left, None)


def aim(group: str, drawn: random.Random) -> Moment:
    """Return a moment of the group, drawn among several."""
    kind = drawn.choice(AIMS[group])
    if group == RESUME:
        return Moment(kind, drawn.randint(5, EARLY))
    if group == SIGNAL:
        return Moment(kind, drawn.randint(1, 3), signals=drawn.choice(SIGNALS))
    return Moment(kind, drawn.randint(2, 3), torn=group == TORN)


def is_in_a_save(end: End) -> bool:
    """Whether a checkpoint's folder is being filled, or is about to get its name."""
    operation, _, name = end.kind.partition(" ")
    if operation == "mkdir":
        return name == ".tmp-epoch_N"
    return end.folder == ".tmp-epoch_N" or end.kind in ("fsync_directory .tmp-epoch_N", "rename epoch_N")


def is_in_pruning(end: End) -> bool:
    """Whether a checkpoint is being deleted, or stripped of what only a resume needs."""
    operation, _, name = end.kind.partition(" ")
    if end.folder == ".tmp-deleted-epoch_N" or name == ".tmp-deleted-epoch_N":
        return True
    return end.folder == "epoch_N" and (operation == "unlink" or name.startswith("manifest.json"))


def is_between_stores(end: End) -> bool:
    """Whether one of the two databases has been written and the other is about to be."""
    database, _, rest = end.kind.partition(" ")
    return rest.startswith(WRITES) and {database, end.committed} == set(DATABASES)


def class_of(name: str) -> str:
    """Return a file's name with its numbers and hashes replaced by N."""
    return re.sub(r"[0-9a-f]{8,}|\d+", "N", name)
