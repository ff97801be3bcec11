"""The byte budget: what counts against it, what a write will take, how much room is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thriftune import files
from thriftune.checkpoints import disk
from thriftune.checkpoints.attempts import read_attempts
from thriftune.checkpoints.session import Session
from thriftune.checkpoints.stored import TEMPORARY
from thriftune.errors import ConfigError, OutOfStorageError
from thriftune.units import human_bytes, parse_bytes

if TYPE_CHECKING:
    from thriftune.checkpoints.checkpoint import Checkpoint

OVERHEAD_BYTES = 256 * 1024
"""Manifest, state.json and safetensors headers of one checkpoint, rounded up."""
STUDY_OVERHEAD_BYTES = 1_000_000
"""Journals, configurations and reports of a study, beside its checkpoints."""
RESERVE_BYTES, RESERVE_SHARE = 64 * 2**20, 0.05
"""What checkpoints leave free of the budget for what grows between two checks: the smaller of both."""


@dataclass(frozen=True)
class Budget:
    """How many bytes a store may hold.

    Raises:
        ConfigError: A value is not a size, or out of its range.
    """

    size: int | str
    """Bytes of the store's folder and what is shared: an integer, or text such as 10GB or 512MiB."""
    shared: Sequence[Path | str] = ()
    """Folders outside the store whose bytes count too, such as a cache of tokens."""
    free_disk_watermark: float = 0.10
    """Share of free disk, from 0 to under 1, below which only what is protected is kept."""

    def __post_init__(self) -> None:
        try:
            size = parse_bytes(self.size)
        except ValueError as error:
            raise ConfigError(str(error), where="Budget") from error
        if size <= 0:
            raise ConfigError(f"expected a size over 0, got {self.size!r}", where="Budget")
        if not 0 <= self.free_disk_watermark < 1:
            raise ConfigError(
                f"free_disk_watermark must be from 0 to under 1, got {self.free_disk_watermark}",
                where="Budget",
            )
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "shared", tuple(Path(path) for path in self.shared))

    @property
    def bytes(self) -> int:
        """Return the size in bytes."""
        return int(self.size)


class ByteAccount:
    """The budget and the disk as they stand now."""

    def __init__(self, budget: Budget, session: Session) -> None:
        self.budget, self._session, self._folder = budget, session, session.folder
        self._shared = [Path(path) for path in budget.shared]

    def held_bytes(self) -> int:
        """Return the bytes of everything that counts: the store's folder and what is shared."""
        return self._session.folders.held_bytes(*self._shared)

    def lacking(self, needed: int) -> int:
        """Return the bytes that must go before a write fits into both the budget and the disk.

        Args:
            needed: Bytes of the write.
        """
        free = disk.disk_of(self._folder).free_bytes - self.reserved()
        return max(0, needed - self.room(), needed - free)

    def room(self) -> int:
        """Return the bytes that the budget has left."""
        beside = reserve_bytes(self.budget.bytes) + self._session.pending_bytes() + self.reserved()
        return self.budget.bytes - beside - self.held_bytes()

    def reserved(self) -> int:
        """Return the bytes that other processes' writes in flight have not yet taken."""
        if not self._session.owner.shared:
            return 0
        outstanding = 0
        for attempt in read_attempts(self._folder).values():
            if attempt.reserved_bytes and self._session.works_elsewhere(attempt.trial):
                begun = self._folder.glob(
                    f"trials/trial_{attempt.trial:04d}_*/checkpoints/{TEMPORARY}epoch_*"
                )
                outstanding += max(0, attempt.reserved_bytes - files.directory_bytes(*begun))
        return outstanding

    def disk_is_low(self) -> bool:
        """Return whether free disk is under the watermark."""
        return disk.disk_of(self._folder).is_low(self.budget.free_disk_watermark)

    def require(self, least: int) -> None:
        """Raise where the budget is too small to hold the study to its end.

        Args:
            least: Bytes that the study cannot do without.

        Raises:
            OutOfStorageError: The budget is smaller.
        """
        if self.budget.bytes < least:
            raise OutOfStorageError(
                f"the budget of {human_bytes(self.budget.bytes)} is too small for this study: at least "
                f"{human_bytes(least)} ({least} bytes) are needed (the newest checkpoint is "
                "kept while the next is written, so is the best, and corpora, tokens, metrics and "
                "databases count too; `thriftune storage forecast` has the figures)",
                where="storage.max_total_size",
                remedy=f"set storage.max_total_size={least} or more; a smaller encoder or "
                "model.fine_tuning=heads needs less.",
            )

    def out_of_storage(self, needed: int, *, disk_full: bool = False) -> OutOfStorageError:
        """Return the error that says what lacks room, how much is needed and held, and the largest files.

        Args:
            needed: Bytes of the write that has no room.
            disk_full: The system refused the write; otherwise the budget is blamed where it has no room.
        """
        what = "the budget" if not disk_full and needed > self.room() else "the disk"
        largest = "\n".join(
            f"  {human_bytes(size):>10}  {path}"
            for size, path in disk.largest_files(self._folder, *self._shared)
        )
        return OutOfStorageError(
            f"{what} has no room for the next write: {human_bytes(needed)} needed, "
            f"{human_bytes(self.held_bytes())} held of a budget of "
            f"{human_bytes(self.budget.bytes)}, "
            f"{human_bytes(disk.disk_of(self._folder).free_bytes)} free on the disk. Largest files:\n"
            f"{largest}",
            where=str(self._folder),
            remedy="everything committed and logged is intact. Make room (`thriftune storage "
            "status`, `thriftune study delete NAME`) or raise storage.max_total_size, then run "
            "the same command again.",
        )


def estimate_bytes(checkpoint: Checkpoint) -> int:
    """Return the bytes that saving a checkpoint writes, rounded up.

    Args:
        checkpoint: What is going to be saved.
    """
    tensors = (*checkpoint.model.values(), *checkpoint.optimizer.values())
    return sum(tensor.nbytes for tensor in tensors) + OVERHEAD_BYTES


def least_budget_bytes(model_bytes: int, resumable_bytes: int) -> int:
    """Return the bytes that a study cannot do without.

    Those of one worker, and beside them the best, stripped to its model.

    Args:
        model_bytes: Bytes of a checkpoint's model.
        resumable_bytes: Bytes of a checkpoint with its optimizer.
    """
    return worker_bytes(resumable_bytes) + model_bytes + STUDY_OVERHEAD_BYTES


def worker_bytes(resumable_bytes: int) -> int:
    """Return the bytes that each working process needs at least.

    The newest is kept while the next is written.

    Args:
        resumable_bytes: Bytes of a checkpoint with its optimizer.
    """
    return 2 * (resumable_bytes + OVERHEAD_BYTES)


def reserve_bytes(budget: int) -> int:
    """Return the part of a budget that checkpoints never take.

    Args:
        budget: Bytes of the budget.
    """
    return min(RESERVE_BYTES, int(budget * RESERVE_SHARE))


def with_reserve(least: int) -> int:
    """Return the smallest budget that leaves so many bytes beside its reserve.

    Args:
        least: Bytes that are to be left.
    """
    budget = math.ceil(least / (1 - RESERVE_SHARE))
    return budget if budget * RESERVE_SHARE <= RESERVE_BYTES else least + RESERVE_BYTES
