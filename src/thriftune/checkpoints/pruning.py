"""Executes retention's plans, and makes room step by step. It decides nothing about what is kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from thriftune import files
from thriftune.checkpoints import disk, retention
from thriftune.checkpoints.attempts import read_attempts
from thriftune.checkpoints.budget import ByteAccount
from thriftune.checkpoints.catalogue import Catalogue
from thriftune.checkpoints.manifest import MANIFEST, OPTIMIZER, STATE
from thriftune.checkpoints.recovery import checkpoint_folders
from thriftune.checkpoints.retention import Key, Plan, RetentionPolicy
from thriftune.checkpoints.session import Session
from thriftune.checkpoints.stored import QUARANTINE, TEMPORARY, StoredCheckpoint
from thriftune.units import human_bytes

log = logging.getLogger(__name__)


class Pruner:
    """Deletes and strips the checkpoints of one store.

    dry_run: say what would be deleted, and delete nothing.
    """

    def __init__(
        self,
        session: Session,
        catalogue: Catalogue,
        account: ByteAccount,
        policy: RetentionPolicy,
        *,
        dry_run: bool,
    ) -> None:
        self._session, self._catalogue, self._account = session, catalogue, account
        self._policy, self._dry_run = policy, dry_run
        self._announced: dict[str, set[Key]] = {"strip": set(), "delete": set()}
        """What a dry run has said already."""

    def prune(self) -> None:
        """Delete and strip what the policy does not keep."""
        with self._session.exclusive():
            self._execute(self.plan())

    def prune_if_disk_low(self) -> None:
        """Prune what is unprotected where free disk is under the watermark.

        Only while a trial is running: before that it is not known what it resumes from, after that its end
        has pruned already.
        """
        if self._session.trial is None or not self._account.disk_is_low():
            return
        with self._session.exclusive():
            self._reclaim(on_this_disk=True)
            if self._account.disk_is_low():
                self._execute(self.plan(), "free disk is under the watermark")

    def make_room(self, needed: int) -> None:
        """Relieve the pressure step by step until a write fits.

        Raises OutOfStorageError if nothing more may be deleted.

        Args:
            needed: Bytes of the write.
        """
        with self._session.exclusive():
            lacking = self._account.lacking(needed)  # walks all shared folders: no more often than needed
            if lacking:
                self._reclaim(on_this_disk=needed <= self._account.room())
                lacking = self._account.lacking(needed)
            if lacking:
                held = sum(entry.manifest.total_bytes for entry in self._catalogue.entries())
                self._execute(self.plan(room_bytes=max(0, held - lacking)), "space was needed")
                lacking = self._account.lacking(needed)
            if lacking:
                raise self._account.out_of_storage(needed)

    def explain(self) -> list[tuple[StoredCheckpoint, str]]:
        """Return every checkpoint that is held, and why."""
        entries = self._catalogue.entries()
        plan = self.plan(entries=entries)
        reasons = {**plan.keep, **plan.strip, **plan.delete}
        return [(entry, reasons[entry.info.key]) for entry in entries]

    def plan(self, room_bytes: int | None = None, entries: Sequence[StoredCheckpoint] | None = None) -> Plan:
        """Return what retention keeps.

        Args:
            room_bytes: Bytes that checkpoints may hold; None: no limit.
            entries: The checkpoints; None: all that are there now.
        """
        running = [each for each in read_attempts(self._catalogue.folder).values() if each.running]
        pressure = retention.Pressure(
            running_trials=frozenset(attempt.trial for attempt in running),
            resumed_from=frozenset(
                (attempt.trial, attempt.resumed_from)
                for attempt in running
                if attempt.resumed_from is not None
            ),
            room_bytes=room_bytes,
            disk_low=self._account.disk_is_low(),
        )
        held = [entry.info for entry in (self._catalogue.entries() if entries is None else entries)]
        return retention.plan(held, self._policy, pressure)

    def _execute(self, plan: Plan, cause: str = "") -> None:
        """Carry out a plan. What pressure takes (`cause`) is logged as information."""
        by_key = {entry.info.key: entry for entry in self._catalogue.entries()}
        level = logging.INFO if cause else logging.DEBUG
        if self._dry_run:
            self._announce(plan)
            return
        # Deletions first: on a disk that is full to the last byte a strip has no room for its new manifest.
        for key, reason in plan.delete.items():
            delete(by_key[key].path)
            log.log(level, "deleted trial %d epoch %d: %s", *key, cause or reason)
        for key, reason in plan.strip.items():
            strip(by_key[key])
            log.log(level, "stripped trial %d epoch %d: %s", *key, cause or reason)

    def _announce(self, plan: Plan) -> None:
        for verb, keys in (("strip", plan.strip), ("delete", plan.delete)):
            for key in keys.keys() - self._announced[verb]:
                log.info("dry run: would %s trial %d epoch %d: %s", verb, *key, keys[key])
            self._announced[verb] |= keys.keys()

    def _reclaim(self, *, on_this_disk: bool) -> None:
        """Step 0: what nobody needs, and what can be recreated.

        on_this_disk: not what lies on another one, since the disk is full and not the budget.
        """
        if self._dry_run:
            return

        def remove(path: Path) -> None:
            if on_this_disk and not disk.same_disk(path, self._catalogue.folder):
                return
            log.info("removed %s (%s): space was needed", path, human_bytes(files.directory_bytes(path)))
            files.remove_tree(path)

        for path in self._leftovers():
            remove(path)
        self._session.reclaim(remove)

    def _leftovers(self) -> list[Path]:
        """Return temporary and quarantined folders but those that are being written."""
        elsewhere = {trial for trial in self._session.running() if self._session.works_elsewhere(trial)}
        return [
            path
            for prefix in (TEMPORARY, QUARANTINE)
            for path in checkpoint_folders(self._catalogue.folder, f"{prefix}*", but=elsewhere)
            if path != self._session.writing
        ]


def delete(path: Path) -> None:
    """Delete a checkpoint; it is renamed first, so what a kill leaves of it never counts as kept.

    Args:
        path: The checkpoint's folder.
    """
    doomed = path.with_name(f"{TEMPORARY}deleted-{path.name}")
    files.remove_tree(doomed)
    files.rename(path, doomed)
    files.remove_tree(doomed)


def strip(entry: StoredCheckpoint) -> None:
    """Reduce a checkpoint to its model; the new manifest is there before the files go.

    Args:
        entry: The checkpoint.
    """
    files.write_bytes(entry.path / MANIFEST, entry.manifest.stripped().to_bytes())
    for name in (OPTIMIZER, STATE):
        files.remove_file(entry.path / name)
