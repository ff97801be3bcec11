"""The checkpoint store of one folder: atomic, verified, under a byte budget.

Each part does one thing: `catalogue` reads, `budget` counts bytes, `retention` decides what is kept,
`pruning` executes that, `saving` writes, `trials` knows what is under way, `run` is one run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from thriftune.checkpoints.budget import Budget, ByteAccount
from thriftune.checkpoints.catalogue import Catalogue
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.hashing import PARALLEL_BYTES
from thriftune.checkpoints.locks import GivenOwner, NoOwner
from thriftune.checkpoints.manifest import Manifest
from thriftune.checkpoints.pruning import Pruner
from thriftune.checkpoints.retention import RetentionPolicy
from thriftune.checkpoints.run import Run
from thriftune.checkpoints.saving import Saver
from thriftune.checkpoints.session import Reclaim, Session, reclaim_nothing
from thriftune.checkpoints.stored import SHOWN, LoadedCheckpoint, StoredCheckpoint
from thriftune.checkpoints.trials import Trials
from thriftune.checkpoints.writer_thread import WriterThread

if TYPE_CHECKING:
    import torch
    from pydantic import JsonValue

log = logging.getLogger(__name__)


class CheckpointStore:
    """All checkpoints of one folder.

    Two stores of one folder, in one process or in two, know of each other through files in the folder alone.
    """

    def __init__(
        self,
        folder: Path | str,
        policy: RetentionPolicy,
        budget: Budget,
        *,
        study: str | None = None,
        overlap: bool = True,
        parallel_bytes: int = PARALLEL_BYTES,
        dry_run: bool = False,
    ) -> None:
        """Open the store; nothing is made before the first save.

        Args:
            folder: Of the store; its name is the study's id unless one is given.
            policy: What is kept.
            budget: How many bytes the folder, and what is shared, may hold.
            study: Id that each checkpoint carries; one of another study is refused.
            overlap: Write checkpoints of copies while training continues.
            parallel_bytes: A checkpoint of so many bytes has two files written, and verified, at a time.
            dry_run: Log what retention would strip and delete, and delete nothing.
        """
        self.folder, self.policy, self.budget, self.parallel_bytes = (
            Path(folder),
            policy,
            budget,
            parallel_bytes,
        )
        self.study = self.folder.absolute().name if study is None else study
        self._session, self._writer = Session(self.folder), WriterThread()
        self.catalogue = Catalogue(self._session, self.study, parallel_bytes)
        self._account = ByteAccount(budget, self._session)
        self._pruner = Pruner(self._session, self.catalogue, self._account, policy, dry_run=dry_run)
        self.trials = Trials(self._session, self.catalogue, self._pruner, self._writer)
        self._saver = Saver(
            self._session,
            self._account,
            self._pruner,
            self.trials,
            self._writer,
            study=self.study,
            overlap=overlap,
            parallel_bytes=parallel_bytes,
        )

    def __repr__(self) -> str:
        held = self.entries()
        kept = ", ".join(f"trial {e.manifest.trial} epoch {e.manifest.epoch}" for e in held[:SHOWN])
        more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
        return f"CheckpointStore({str(self.folder)!r}: {kept or 'no checkpoint'}{more})"

    def entries(self) -> list[StoredCheckpoint]:
        """Return every checkpoint that counts, by trial and epoch."""
        return self.catalogue.entries()

    def best(self) -> StoredCheckpoint | None:
        """Return the best committed checkpoint; None where none has a value."""
        return self.catalogue.best()

    def co_best(self) -> list[StoredCheckpoint]:
        """Return the best and its exact ties that are still there, in rank order."""
        return self.catalogue.co_best()

    def newest(self, trial: int) -> LoadedCheckpoint | None:
        """Return the newest resume-capable checkpoint of a trial, verified; damaged ones are set aside.

        Args:
            trial: Its number.
        """
        return self.catalogue.newest(trial)

    def load_model(
        self, entry: StoredCheckpoint, signature: Mapping[str, JsonValue]
    ) -> dict[str, torch.Tensor]:
        """Return the model's tensors, hashed on the way, after its signature was checked.

        Args:
            entry: The checkpoint.
            signature: What is expected; a value that is not named is not compared.
        """
        return self.catalogue.load_model(entry, signature)

    def verify(self, entry: StoredCheckpoint) -> None:
        """Raise DamageError at the first file that is not what its manifest says.

        Args:
            entry: The checkpoint.
        """
        entry.verify(self.parallel_bytes)

    def explain(self) -> list[tuple[StoredCheckpoint, str]]:
        """Return every checkpoint that is held, and why."""
        return self._pruner.explain()

    def run(self, name: str) -> Run:
        """Return a run for a `with` block, which resumes where an earlier one of that name was interrupted.

        Args:
            name: Letters, digits, dots, dashes and underscores.
        """
        return Run(self._session, self.catalogue, self.trials, self._saver, name)

    def trial(self, number: int) -> Run:
        """Return the run of a trial that is known by its number, for a `with` block.

        Args:
            number: From 0.
        """
        return Run(self._session, self.catalogue, self.trials, self._saver, number)

    def save(self, checkpoint: Checkpoint) -> Manifest:
        """Commit a checkpoint and apply retention.

        Raises StudyError if it is of another study. Raises OutOfStorageError if there is no room in
        the budget or on the disk; nothing half-written is left.

        Args:
            checkpoint: Of this store's study.

        Returns:
            Its manifest.
        """
        return self._saver.save(checkpoint)

    def submit(self, checkpoint: Checkpoint) -> None:
        """Save in the background if the checkpoint is detached, otherwise before this returns.

        Args:
            checkpoint: Of this store's study; a failure is raised where its receipt is checked.
        """
        self._saver.submit(checkpoint)

    def drain(self, seconds: float | None = None) -> None:
        """Wait for the write in flight.

        Args:
            seconds: The longest wait; after it the write is abandoned. None: wait until it is done.
        """
        if not self._writer.drain(seconds):
            log.warning("the checkpoint that was being written is abandoned; the previous one is kept")

    @contextmanager
    def owned(
        self,
        check: Callable[[], None],
        guard: Callable[[], AbstractContextManager[None]] | None = None,
        reclaim: Reclaim = reclaim_nothing,
    ) -> Iterator[None]:
        """Have somebody else than the folder's locks say who may commit, for the block.

        Args:
            check: Asked before each commit; what it raises leaves nothing committed.
            guard: The context in which one process alone plans, deletes and commits; None: no other process
                works on the study.
            reclaim: Deletes folders outside the store that can be recreated; they go first under pressure.
        """
        self._session.owner, self._session.reclaim = GivenOwner(check, guard), reclaim
        try:
            yield
        finally:
            # A write that a signal did not wait for may still be on its way, and nobody guards it any more.
            over = self._writer.drain(0)
            self._session.owner = self._session.locks if over else NoOwner()
            self._session.reclaim = reclaim_nothing

    @contextmanager
    def counting(self, pending_bytes: Callable[[], int]) -> Iterator[None]:
        """Leave room for what others are still going to write under the budget, for the block.

        Args:
            pending_bytes: How many bytes that is; asked before each write here.
        """
        self._session.pending_bytes = pending_bytes
        try:
            yield
        finally:
            self._session.pending_bytes = int

    def prune_if_disk_low(self) -> None:
        """Delete what is unprotected where free disk is under the watermark, while a trial is running."""
        self._pruner.prune_if_disk_low()

    def require_room(self, needed: int = 0) -> None:
        """Make room for bytes that are not a checkpoint; raise OutOfStorageError where there is none.

        Args:
            needed: How many bytes.
        """
        self._pruner.make_room(needed)

    def require_budget(self, least: int) -> None:
        """Raise OutOfStorageError where the budget is too small to hold the study to its end.

        Args:
            least: Bytes that the study cannot do without.
        """
        self._account.require(least)

    def held_bytes(self) -> int:
        """Return the bytes of everything that counts against the budget: the folder and what is shared."""
        return self._account.held_bytes()

    @property
    def upkeep_seconds(self) -> float:
        """Return what saves have taken in this process beside the writing of bytes."""
        return self._session.upkeep_seconds
