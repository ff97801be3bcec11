"""What a store holds: listed, ranked, read, verified. It changes nothing but to set damage aside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from thriftune.checkpoints import retention, stored
from thriftune.checkpoints.attempts import Attempt, read_attempts
from thriftune.checkpoints.manifest import MANIFEST
from thriftune.checkpoints.recovery import quarantine
from thriftune.checkpoints.session import Session
from thriftune.checkpoints.stored import LoadedCheckpoint, StoredCheckpoint
from thriftune.errors import DamageError, StudyError

if TYPE_CHECKING:
    import torch
    from pydantic import JsonValue


class Catalogue:
    """The committed checkpoints of one store."""

    def __init__(self, session: Session, study: str, parallel_bytes: int) -> None:
        self.folder, self.study, self.parallel_bytes = session.folder, study, parallel_bytes
        self._session = session

    def entries(self) -> list[StoredCheckpoint]:
        """Return every checkpoint with a valid manifest that counts (see attempts), by trial and epoch."""
        attempts = read_attempts(self.folder)
        return [entry for entry in self.committed() if counts(entry, attempts)]

    def committed(self) -> list[StoredCheckpoint]:
        """Return every checkpoint with a valid manifest, by trial and epoch."""
        found = []
        for path in self._session.folders.epochs():
            try:
                found.append(stored.read_entry(self.folder / path))
            except DamageError:
                continue  # never counted; newest() and recover() report and quarantine it
        return sorted(found, key=lambda entry: entry.info.key)

    def of_trial(self, trial: int) -> list[StoredCheckpoint]:
        """Return the checkpoints of one trial that count, by epoch.

        Args:
            trial: Its number.
        """
        return [entry for entry in self.entries() if entry.manifest.trial == trial]

    def best(self) -> StoredCheckpoint | None:
        """Return the best committed checkpoint; None where none has a value."""
        ties = self.co_best()
        return ties[0] if ties else None

    def co_best(self) -> list[StoredCheckpoint]:
        """Return the best and its exact ties that are still there, in rank order."""
        by_key = {entry.info.key: entry for entry in self.entries()}
        order = retention.ranked(entry.info for entry in by_key.values())
        return [by_key[held.key] for held in order if held.value == order[0].value]

    def newest(self, trial: int) -> LoadedCheckpoint | None:
        """Read the newest resume-capable checkpoint of a trial, every hash verified.

        Damaged ones are quarantined and the next older is tried. It may be another model's: see `check`.
        The store is not locked while gigabytes are read, so that others can commit.

        Args:
            trial: Its number.

        Returns:
            The checkpoint in memory; None where none is left.
        """
        while (found := self._newest_resumable(trial)) is not None:
            entry, seen = found
            try:
                return entry.load(self.parallel_bytes)
            except DamageError as error:
                with self._session.exclusive():
                    # Others may have deleted, stripped or replaced it meanwhile: then it is not damaged.
                    if seen and _state_of(entry.path) == seen:
                        quarantine(entry.path, error)
        return None

    def _newest_resumable(self, trial: int) -> tuple[StoredCheckpoint, list[tuple[int, int, int]]] | None:
        """Return it with the state of its folder."""
        with self._session.exclusive():
            own = [entry for entry in self.of_trial(trial) if entry.manifest.resumable]
            return (own[-1], _state_of(own[-1].path)) if own else None

    def check(self, entry: StoredCheckpoint, signature: Mapping[str, JsonValue]) -> None:
        """Raise unless a checkpoint is of this study and of the model that is expected.

        Raises StudyError if it is another model's or another study's.

        Args:
            entry: The checkpoint.
            signature: What is expected; a value that is not named is not compared.
        """
        stored.check_signature(entry, {"study": self.study, **signature})

    def load_model(
        self, entry: StoredCheckpoint, signature: Mapping[str, JsonValue]
    ) -> dict[str, torch.Tensor]:
        """Return the model's tensors, hashed on the way, once its signature was checked.

        Raises StudyError if the checkpoint is another model's or another study's. Raises DamageError
        if the model's file is not what the manifest says.

        Args:
            entry: The checkpoint.
            signature: What is expected; a value that is not named is not compared.
        """
        self.check(entry, signature)
        return stored.load_model(entry, self.parallel_bytes)

    def later_than(self, trial: int, epoch: int) -> list[Path]:
        """Return the folders of a trial's checkpoints after an epoch.

        Args:
            trial: Its number.
            epoch: One that the trial can be resumed from.

        Raises:
            StudyError: There is no resume-capable checkpoint of that epoch.
        """
        own = self.of_trial(trial)
        able = [entry.epoch for entry in own if entry.manifest.resumable]
        if epoch not in able:
            raise StudyError(
                f"trial {trial} has no resume-capable checkpoint of epoch {epoch}",
                where=str(self.folder),
                remedy=f"choose one of {able}; storage.keep_last_n decides how many there are."
                if able
                else "nothing can be resumed from.",
            )
        return [entry.path for entry in own if entry.epoch > epoch]


def counts(entry: StoredCheckpoint, attempts: Mapping[int, Attempt]) -> bool:
    """Return whether a checkpoint was made by an attempt that counts.

    Args:
        entry: The checkpoint.
        attempts: The attempts of all trials, by trial.
    """
    attempt = attempts.get(entry.manifest.trial)
    return attempt is None or attempt.counts(entry.manifest.attempt, entry.manifest.epoch)


def _state_of(folder: Path) -> list[tuple[int, int, int]]:
    """Return what differs once a checkpoint was moved, replaced or stripped; [] once it is gone."""
    try:
        facts = [path.stat() for path in (folder, folder / MANIFEST)]
    except OSError:
        return []
    return [(fact.st_dev, fact.st_ino, fact.st_ctime_ns) for fact in facts]
