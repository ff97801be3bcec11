"""One run of a store, owned by this process for a `with` block."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from thriftune import files
from thriftune.checkpoints.catalogue import Catalogue
from thriftune.checkpoints.checkpoint import Checkpoint, Receipt
from thriftune.checkpoints.folders import TRIAL, TRIALS, trial_number
from thriftune.checkpoints.manifest import Manifest
from thriftune.checkpoints.saving import Saver
from thriftune.checkpoints.session import Session
from thriftune.checkpoints.stored import LoadedCheckpoint
from thriftune.checkpoints.trials import Trials
from thriftune.errors import ConfigError, RefusedError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Run:
    """One trial from where it was interrupted to its end.

    At the start of the block the run is owned and what a dead process left of it is recovered. At its end
    the run is over and retention deletes what the store does not keep; where the block raises, the run is
    interrupted instead, and what it resumes from is kept.
    """

    def __init__(
        self, session: Session, catalogue: Catalogue, trials: Trials, saver: Saver, name: str | int
    ) -> None:
        """Prepare the run.

        Args:
            session: The store's.
            catalogue: The store's.
            trials: The store's.
            saver: The store's.
            name: Of the run, or the number of a trial.

        Raises:
            ConfigError: The name is not valid for a folder.
        """
        if isinstance(name, str) and not NAME.fullmatch(name):
            raise ConfigError(
                f"a run is named by up to 100 letters, digits, dots, dashes and underscores, got {name!r}",
                where=str(session.folder),
            )
        self._session, self._catalogue, self._trials, self._saver = session, catalogue, trials, saver
        self._name = name
        self._last: Receipt | None = None
        self.number = -1
        """Of the trial in the store; -1 before the block begins."""
        self.attempt = 1
        """1 at the first time; each resume adds one."""
        self.was_finished = False
        """Whether the run had ended, in order, before this block began."""

    def __enter__(self) -> Self:
        if self._session.trial is not None:
            raise RefusedError(
                f"this store runs trial {self._session.trial} already",
                where=str(self._session.folder),
                remedy="end that run first, or open another CheckpointStore on the folder.",
            )
        with ExitStack() as stack:
            with self._session.exclusive():
                self.number, self._trial_id = self._find()
            if self._session.owner is self._session.locks:
                stack.enter_context(self._session.locks.hold(self.number, f"the run {self._name!r}"))
            self.was_finished = self._trials.is_finished(self.number)
            self._trials.recover(self.number)
            self.attempt = self._trials.next_attempt(self.number)
            resumable = [each for each in self._catalogue.of_trial(self.number) if each.manifest.resumable]
            self._trials.begin(self.number, resumable[-1] if resumable else None, self.attempt)
            self._stack = stack.pop_all()
        return self

    def _find(self) -> tuple[int, str]:
        """Return number and id of the trial; the folder of a new one is made."""
        root = self._session.folder / TRIALS
        known = {
            trial_number(path.name): path.name.partition("_")[2].partition("_")[2]
            for path in root.glob(f"{TRIAL}*")
        }
        if isinstance(self._name, int):
            number, trial_id = self._name, known.get(self._name, f"{self._name:08x}")
        else:
            found = [number for number, trial_id in known.items() if trial_id == self._name]
            number, trial_id = found[0] if found else max(known, default=-1) + 1, self._name
        files.make_directory(root / f"{TRIAL}{number:04d}_{trial_id}")
        return number, trial_id

    def newest(self) -> LoadedCheckpoint | None:
        """Read the newest checkpoint to resume from, every hash verified; damaged ones are set aside.

        Returns:
            The checkpoint in memory; None where the run starts from its beginning.
        """
        loaded = self._catalogue.newest(self.number)
        self._trials.note_origin(None if loaded is None else loaded.entry)
        return loaded

    def submit(self, checkpoint: Checkpoint) -> Receipt:
        """Have a checkpoint written while training continues.

        It is copied first unless it is detached, so its tensors may change once this has returned. One write
        is in flight at a time: the one before is waited for.

        Raises OutOfStorageError if the write before this one had no room.

        Args:
            checkpoint: Study, trial, trial_id and attempt are filled in.

        Returns:
            A future that is done once the checkpoint is durable.
        """
        self.wait()
        own = self._own(checkpoint.detach())
        self._last = own.receipt
        self._saver.submit(own)
        return own.receipt

    def save(self, checkpoint: Checkpoint) -> Manifest:
        """Write a checkpoint before this returns.

        Raises OutOfStorageError if there is no room in the budget or on the disk.

        Args:
            checkpoint: Study, trial, trial_id and attempt are filled in.

        Returns:
            Its manifest.
        """
        self.wait()
        return self._saver.save(self._own(checkpoint))

    def wait(self) -> None:
        """Wait for the write in flight; raise what it failed of."""
        last, self._last = self._last, None
        if last is not None:
            last.wait()

    def _own(self, checkpoint: Checkpoint) -> Checkpoint:
        return replace(
            checkpoint,
            study=self._catalogue.study,
            trial=self.number,
            trial_id=self._trial_id,
            attempt=self.attempt,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            try:
                if kind is None:
                    self.wait()
                    self._trials.finish(self.number, remember=True)
            finally:
                self._trials.abandon()
