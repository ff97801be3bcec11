"""One save from end to end, in the order on which crash safety rests.

Estimate, make room, write to a temporary directory (hashed on the way, every file fsynced, the manifest
last), rename, fsync the parent, then retention. A reader sees a whole checkpoint or none.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from thriftune import files
from thriftune.checkpoints.attempts import read_attempts, write_attempt
from thriftune.checkpoints.budget import ByteAccount, estimate_bytes
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.folders import CHECKPOINTS, TRIALS
from thriftune.checkpoints.manifest import Manifest
from thriftune.checkpoints.pruning import Pruner
from thriftune.checkpoints.session import Session
from thriftune.checkpoints.stored import REPLACED, TEMPORARY
from thriftune.checkpoints.trials import Trials
from thriftune.checkpoints.writer_thread import WriterThread
from thriftune.errors import StudyError

log = logging.getLogger(__name__)


class Saver:
    """Commits checkpoints to one store, one after the other.

    study: the id that each checkpoint must have.
    overlap: a checkpoint of copies is written while training continues.
    parallel_bytes: a checkpoint of so many bytes has two files written at a time.
    """

    def __init__(
        self,
        session: Session,
        account: ByteAccount,
        pruner: Pruner,
        trials: Trials,
        writer: WriterThread,
        *,
        study: str,
        overlap: bool,
        parallel_bytes: int,
    ) -> None:
        self._session, self._account, self._pruner, self._trials = session, account, pruner, trials
        self._writer, self._overlap = writer, overlap
        self._study, self._parallel_bytes = study, parallel_bytes

    def submit(self, checkpoint: Checkpoint) -> None:
        """Save in the background if the checkpoint is detached and overlap is on, otherwise now.

        The receipt is settled either way; a failure of a save that is over is raised here too where nobody
        awaits the receipt.

        Args:
            checkpoint: Of this store's study.
        """
        checkpoint.receipt.accept()
        if self._overlap and checkpoint.detached:
            self._writer.start(lambda: self._settle(checkpoint))
            return
        self._writer.drain()
        self._settle(checkpoint)
        if not checkpoint.receipt.awaited:
            checkpoint.receipt.check()

    def _settle(self, checkpoint: Checkpoint) -> None:
        try:
            self.save(checkpoint)
        except BaseException as error:  # raised where the receipt is checked
            log.debug("trial %d epoch %d was not saved: %s", checkpoint.trial, checkpoint.epoch, error)
            checkpoint.receipt.fail(error)

    def save(self, checkpoint: Checkpoint) -> Manifest:
        """Return the manifest of a checkpoint once it is committed, retention applied, the receipt settled.

        Raises OutOfStorageError if there is no room in the budget, or none on the disk; where that
        shows only in the middle of the write, nothing half-written is left.

        Args:
            checkpoint: Of this store's study.

        Raises:
            StudyError: It is of another study.
            OSError: The disk cannot be written, for another reason than lack of space.
        """
        if checkpoint.study != self._study:
            raise StudyError(
                f"the checkpoint belongs to the study {checkpoint.study!r}, this store to {self._study!r}",
                where=str(self._session.folder),
                remedy="save it through the catalog entry of its own study.",
            )
        needed = estimate_bytes(checkpoint)
        with self._session.upkeep():
            self._claim(checkpoint, needed)
        try:
            manifest = self._write(checkpoint)
            with self._session.upkeep():
                self._pruner.prune()
        except OSError as error:
            if files.is_out_of_space(error):
                raise self._account.out_of_storage(needed, disk_full=True) from error
            raise
        checkpoint.receipt.commit()
        return manifest

    def _claim(self, checkpoint: Checkpoint, needed: int) -> None:
        """Make room for a checkpoint, and let the others know of it before it is written."""
        with self._session.exclusive():
            self._check()
            if self._session.trial != checkpoint.trial:
                self._trials.begin(checkpoint.trial, attempt=checkpoint.attempt)
            self._pruner.make_room(needed)
            self._reserve(checkpoint.trial, needed)

    def _check(self) -> None:
        self._session.owner.check()
        self._trials.check()

    def _reserve(self, trial: int, needed: int) -> None:
        attempt = read_attempts(self._session.folder).get(trial) if self._session.owner.shared else None
        if attempt is not None and attempt.number == self._session.attempt:
            write_attempt(self._session.folder, replace(attempt, reserved_bytes=needed))

    def _write(self, checkpoint: Checkpoint) -> Manifest:
        from thriftune.checkpoints.writing import write_checkpoint

        target = self._target(checkpoint)
        temporary = self._session.writing = target.with_name(TEMPORARY + target.name)
        try:
            files.remove_tree(temporary)
            manifest = write_checkpoint(temporary, checkpoint, self._parallel_bytes)
            with self._session.exclusive():
                self._check()
                _commit(temporary, target)
                self._reserve(checkpoint.trial, 0)
        except BaseException:
            files.remove_tree(temporary)
            # A disk that is full to the last byte has no room for the note; the next attempt replaces it.
            with suppress(OSError):
                self._reserve(checkpoint.trial, 0)
            raise
        finally:
            self._session.writing = None
        return manifest

    def _target(self, checkpoint: Checkpoint) -> Path:
        trial = f"trial_{checkpoint.trial:04d}_{checkpoint.trial_id}"
        return self._session.folder / TRIALS / trial / CHECKPOINTS / f"epoch_{checkpoint.epoch:04d}"


def _commit(temporary: Path, target: Path) -> None:
    if target.exists():
        # The same epoch, trained again after a fallback. A directory cannot be replaced by one
        # rename: the older is moved aside, and recovery puts it back, until the new is there.
        aside = target.with_name(REPLACED + target.name)
        files.rename(target, aside)
        files.rename(temporary, target)
        files.remove_tree(aside)
    else:
        files.rename(temporary, target)
