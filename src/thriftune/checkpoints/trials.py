"""The attempts at trials: begun, recovered, abandoned, finished."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from thriftune.checkpoints.attempts import Attempt, read_attempts, remove_attempt, write_attempt
from thriftune.checkpoints.catalogue import Catalogue, counts
from thriftune.checkpoints.pruning import Pruner, delete
from thriftune.checkpoints.recovery import recover, set_aside
from thriftune.checkpoints.session import Session
from thriftune.checkpoints.stored import StoredCheckpoint
from thriftune.checkpoints.writer_thread import WriterThread
from thriftune.errors import TakenOverError

log = logging.getLogger(__name__)


class Trials:
    """Which trials of a store are under way, and what an interruption left of them."""

    def __init__(self, session: Session, catalogue: Catalogue, pruner: Pruner, writer: WriterThread) -> None:
        self._session, self._catalogue, self._pruner, self._writer = session, catalogue, pruner, writer
        self._folder = session.folder

    def running(self) -> set[int]:
        """Return the trials that are under way, here, elsewhere, or interrupted."""
        return self._session.running()

    def mark_finished(self, finished: Collection[int]) -> None:
        """Note which trials are over: most of their folders need not be read again.

        Args:
            finished: Numbers of all trials that are over, whoever ran them.
        """
        self._session.folders.mark_finished(finished)

    def recover_all(self, but: Collection[int] = ()) -> None:
        """Recover what interrupted processes left.

        Args:
            but: Trials that other processes work on.
        """
        with self._session.exclusive():
            attempts = read_attempts(self._folder)
            for entry in self._catalogue.committed() if attempts else ():
                if entry.manifest.trial not in but and not counts(entry, attempts):
                    log.warning("deleted %s: its attempt had been taken over", entry.path)
                    delete(entry.path)
            recover(self._folder, but=but)

    def recover(self, trial: int) -> None:
        """Recover what the process left that had the trial before.

        Args:
            trial: Its number.
        """
        with self._session.exclusive():
            self._session.folders.reopen(trial)
            recover(self._folder, trial)

    def next_attempt(self, trial: int) -> int:
        """Return the number of an attempt that would begin now, from 1.

        Args:
            trial: The trial's number.
        """
        known = read_attempts(self._folder).get(trial)
        return 1 if known is None else known.number + 1

    def begin(self, trial: int, resumed_from: StoredCheckpoint | None = None, attempt: int = 1) -> None:
        """Have this process run a trial; what earlier attempts commit from now on does not count.

        Args:
            trial: Its number.
            resumed_from: Kept until a newer one of the trial is committed; None: it starts afresh.
            attempt: Number of the attempt.
        """
        self._session.folders.reopen(trial)
        with self._session.exclusive():
            accepted = [entry.epoch for entry in self._catalogue.of_trial(trial)]
            epoch = None if resumed_from is None else resumed_from.epoch
            write_attempt(self._folder, Attempt(trial, attempt, epoch, accepted))
            self._session.trial, self._session.attempt = trial, attempt

    def check(self) -> None:
        """Raise unless this process may still commit to its trial.

        Raises:
            TakenOverError: A later attempt at it has begun.
        """
        trial = self._session.trial
        known = None if trial is None else read_attempts(self._folder).get(trial)
        if known is not None and known.number > self._session.attempt:
            raise TakenOverError(
                f"trial {trial} was taken over by another process (attempt {known.number}); nothing more of "
                "it is committed here",
                where=str(self._folder),
            )

    def abandon(self) -> None:
        """Stop working on this process's trial, which is not over; what it resumes from stays protected."""
        self._writer.drain()
        self._session.trial = None

    def note_origin(self, origin: StoredCheckpoint | None) -> None:
        """Note what this process's trial resumes from, where that is not what `begin` was given.

        Args:
            origin: Kept until a newer one of the trial is committed; None: it starts afresh.
        """
        with self._session.exclusive():
            known = (
                None if self._session.trial is None else read_attempts(self._folder).get(self._session.trial)
            )
            if known is not None and known.number == self._session.attempt:
                epoch = None if origin is None else origin.epoch
                write_attempt(self._folder, replace(known, resumed_from=epoch))

    def is_finished(self, trial: int) -> bool:
        """Return whether a trial has ended, where its end was remembered.

        Args:
            trial: Its number.
        """
        known = read_attempts(self._folder).get(trial)
        return known is not None and not known.running

    def finish(self, trial: int, *, remember: bool = False) -> None:
        """Note that a trial is over, and delete what the store does not keep of it.

        Args:
            trial: Its number.
            remember: Leave a note, which `is_finished` reads.
        """
        self._finish({trial}, remember=remember)

    def finish_all(self) -> None:
        """Note that all trials are over, and delete what the store does not keep."""
        self._finish(None, remember=False)

    def _finish(self, numbers: Collection[int] | None, *, remember: bool) -> None:
        self._writer.drain()
        with self._session.exclusive():
            for number, attempt in read_attempts(self._folder).items():
                if numbers is None or number in numbers:
                    self._end_attempt(attempt, remember=remember)
            if numbers is None or self._session.trial in numbers:
                self._session.trial = None
            self._pruner.prune()

    def _end_attempt(self, attempt: Attempt, *, remember: bool) -> None:
        if attempt.number <= 1 and not remember:
            remove_attempt(self._folder, attempt.trial)
        elif attempt.running:  # what an earlier one commits from now on does not count either
            write_attempt(self._folder, replace(attempt, running=False, reserved_bytes=0))

    def roll_back(self, trial: int, epoch: int) -> list[Path]:
        """Set a trial's later checkpoints aside, so that it resumes from an epoch.

        Args:
            trial: The trial's number.
            epoch: One that the trial can be resumed from.

        Returns:
            The new folders.
        """
        return [set_aside(path) for path in self._catalogue.later_than(trial, epoch)]

    def set_aside(self, trial: int) -> None:
        """Quarantine every checkpoint of a trial, so that it starts from its beginning.

        Args:
            trial: Its number.
        """
        for entry in self._catalogue.of_trial(trial):
            set_aside(entry.path)
