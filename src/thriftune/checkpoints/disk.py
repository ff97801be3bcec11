"""Free bytes, estimates, and the least budget that a model needs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import, and `kedro run` checks the budget before it starts
    from thriftune.checkpoints.checkpoint import Checkpoint

OVERHEAD_BYTES = 256 * 1024
"""Manifest, state.json and safetensors headers of one checkpoint, rounded up."""
STUDY_OVERHEAD_BYTES = 1_000_000
"""Journals, configurations and reports of a study, beside its checkpoints."""
LARGEST_SHOWN = 10
RESERVE_BYTES, RESERVE_SHARE = 64 * 2**20, 0.05
"""What checkpoints leave free of the budget for what grows between two checks: the smaller of both."""


@dataclass(frozen=True)
class Disk:
    """State of the file system that holds a study."""

    free_bytes: int
    total_bytes: int

    def is_low(self, watermark: float) -> bool:
        """Free share under the watermark."""
        return self.free_bytes < watermark * self.total_bytes


def disk_of(path: Path) -> Disk:
    """The file system of a path or of its nearest parent that exists."""
    place = next(p for p in (path, *path.parents) if p.exists())
    usage = shutil.disk_usage(place)
    return Disk(usage.free, usage.total)


def same_disk(one: Path, other: Path) -> bool:
    """Whether both are on one file system; not where one is gone."""
    try:
        return one.stat().st_dev == other.stat().st_dev
    except FileNotFoundError:
        return False


def estimate_bytes(checkpoint: Checkpoint) -> int:
    """Bytes that saving a checkpoint writes, rounded up."""
    tensors = (*checkpoint.model.values(), *checkpoint.optimizer.values())
    return sum(tensor.nbytes for tensor in tensors) + OVERHEAD_BYTES


def least_budget_bytes(model_bytes: int, resumable_bytes: int) -> int:
    """Bytes that a study cannot do without: those of one worker, and beside them the best, stripped to its
    model."""
    return worker_bytes(resumable_bytes) + model_bytes + STUDY_OVERHEAD_BYTES


def worker_bytes(resumable_bytes: int) -> int:
    """Bytes that each process at work cannot do without: the newest is kept while the next is written."""
    return 2 * (resumable_bytes + OVERHEAD_BYTES)


def reserve_bytes(budget: int) -> int:
    """The part of a budget that checkpoints never take."""
    return min(RESERVE_BYTES, int(budget * RESERVE_SHARE))


def with_reserve(least: int) -> int:
    """The smallest budget that leaves `least` bytes beside its reserve."""
    budget = math.ceil(least / (1 - RESERVE_SHARE))
    return budget if budget * RESERVE_SHARE <= RESERVE_BYTES else least + RESERVE_BYTES


def largest_files(*roots: Path) -> list[tuple[int, Path]]:
    """The largest files below folders, (bytes, path), largest first."""
    found = {path: size for root in roots for size, path in _sizes(root)}
    return sorted(((size, path) for path, size in found.items()), key=lambda item: (-item[0], str(item[1])))[
        :LARGEST_SHOWN
    ]


def _sizes(root: Path) -> Iterable[tuple[int, Path]]:
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path.stat().st_size, path
