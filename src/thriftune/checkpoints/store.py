"""The checkpoint store of one study: atomic, verified, under a byte budget.

It decides nothing about what is kept: it executes the plans of `retention`. A save is: estimate, make
room, write to a temporary directory (hashing on the way, every file fsynced, the manifest last), rename,
fsync the parent, then retention. A reader sees a whole checkpoint or none. `submit` does it while training
goes on.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.checkpoints import disk, retention
from thriftune.checkpoints.activity import activity_in, do_nothing
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.entries import (
    QUARANTINE,
    REPLACED,
    SHOWN,
    TEMPORARY,
    Entry,
    Loaded,
    check_signature,
    read_all,
    read_entry,
)
from thriftune.checkpoints.manifest import MANIFEST, MODEL, OPTIMIZER, STATE, Manifest
from thriftune.checkpoints.tensors import tensors_in
from thriftune.checkpoints.writing import write_checkpoint
from thriftune.config import StorageConfig
from thriftune.errors import DamageError, OutOfStorageError, StudyError

log = logging.getLogger(__name__)


class CheckpointStore:
    """All checkpoints of one study, below its folder.

    shared: folders of what studies share (corpora, token stores, tracking databases). Their bytes count in
    full against the budget of each study (SPEC 6.4.2).
    """

    def __init__(
        self, folder: Path, study_id: str, policy: StorageConfig, shared: Sequence[Path] = ()
    ) -> None:
        self.folder, self.study_id, self.policy = Path(folder), study_id, policy
        self.shared = tuple(Path(path) for path in shared)
        self._activity = activity_in(self.folder)

    def __repr__(self) -> str:
        held = self.entries()
        kept = ", ".join(f"trial {e.manifest.trial} epoch {e.manifest.epoch}" for e in held[:SHOWN])
        more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
        return f"CheckpointStore({str(self.folder)!r}: {kept or 'no checkpoint'}{more})"

    # ---- reading -----------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Every checkpoint with a valid manifest, by trial and epoch."""
        found = []
        for path in self._activity.folders.epochs():
            try:
                found.append(read_entry(self.folder / path))
            except DamageError:
                continue  # never counted; newest_valid and start() report and quarantine it
        return sorted(found, key=lambda entry: entry.held.key)

    def best(self) -> Entry | None:
        """The study's best committed checkpoint (SPEC 6.4.1)."""
        ties = self.co_best()
        return ties[0] if ties else None

    def co_best(self) -> list[Entry]:
        """The best and its exact ties that are still there, in rank order."""
        by_key = {entry.held.key: entry for entry in self.entries()}
        order = retention.ranked(entry.held for entry in by_key.values())
        return [by_key[held.key] for held in order if held.value == order[0].value]

    def held_bytes(self) -> int:
        """Bytes of everything that counts against the budget: the study's folder and what is shared."""
        return self._activity.folders.held_bytes(*self.shared)

    @property
    def upkeep_seconds(self) -> float:
        """What saves have taken in this process beside the writing of bytes: making room, retention."""
        return self._activity.upkeep.seconds

    def settle(self, over: Collection[int]) -> None:
        """The numbers of the trials that are over: most of their folders need not be read again."""
        self._activity.folders.settle(over)

    def newest_valid(self, trial: int, signature: Mapping[str, Any]) -> Loaded | None:
        """The newest resume-capable checkpoint of a trial, verified; damaged ones are quarantined
        and the next older is tried. StudyError where it is whole but of another model."""
        with self._activity.lock:
            own = [e for e in self.entries() if e.manifest.trial == trial and e.manifest.resumable]
            for entry in reversed(own):
                try:
                    return self.load(entry, signature)
                except DamageError as error:
                    self.quarantine(entry.path, error)
        return None

    def load(self, entry: Entry, signature: Mapping[str, Any]) -> Loaded:
        """Check the signature and every hash, reading each file once. DamageError, StudyError."""
        check_signature(entry, {"study": self.study_id, **signature})
        content = read_all(entry)
        resumable = entry.manifest.resumable
        return Loaded(
            entry=entry,
            model=tensors_in(content[MODEL]),
            optimizer=tensors_in(content[OPTIMIZER]) if resumable else {},
            state=json.loads(bytes(content[STATE].numpy())) if resumable else {},
        )

    def explain(self) -> list[tuple[Entry, str]]:
        """Every checkpoint that is held, and why."""
        plan = self._plan()
        reasons = {**plan.keep, **plan.strip, **plan.delete}
        return [(entry, reasons[entry.held.key]) for entry in self.entries()]

    # ---- the life of a trial -----------------------------------------------------------------

    def start(self) -> None:
        """Mend what an interrupted process left: temporary directories, files that no manifest
        lists, directories without a valid manifest."""
        for path in self.folder.glob(f"trials/trial_*/checkpoints/{REPLACED}*"):
            target = path.with_name(path.name.removeprefix(REPLACED))
            if target.exists():
                files.remove_tree(path)
            else:
                log.info("put back %s, whose replacement was not committed", target.name)
                files.rename(path, target)
        for path in self.folder.glob(f"trials/trial_*/checkpoints/{TEMPORARY}*"):
            log.info("removed a half-written checkpoint: %s", path.name)
            files.remove_tree(path)
        for path in sorted(self.folder.glob("trials/trial_*/checkpoints/epoch_*")):
            try:
                listed = {MANIFEST, *read_entry(path).manifest.files}
            except DamageError as error:
                self.quarantine(path, error)
                continue
            for item in path.iterdir():
                if item.name not in listed:
                    log.info("removed %s/%s, which its manifest does not list", path.name, item.name)
                    files.remove_tree(item)

    def begin_trial(self, trial: int, resumed_from: Entry | None = None) -> None:
        """From now on this trial is the running one."""
        self._activity.folders.reopen(trial)
        self._activity.running = trial
        self._activity.resumed_from = None if resumed_from is None else resumed_from.held.key

    def end_trial(self) -> None:
        """No trial is running; all that the study does not keep goes."""
        self.drain()
        with self._activity.lock:
            self._activity.running = self._activity.resumed_from = None
            self._apply(self._plan())

    def drain(self, seconds: float | None = None) -> None:
        """Wait for the write in flight, at most for so long; then it is abandoned with the process, and the
        next start removes what it left."""
        if not self._activity.writer.drain(seconds):
            log.warning("the checkpoint that was being written is abandoned; the one before it stands")

    def later_than(self, trial: int, epoch: int) -> list[Path]:
        """A trial's checkpoints after an epoch. StudyError where that epoch cannot be resumed from."""
        own = [entry for entry in self.entries() if entry.manifest.trial == trial]
        able = [entry.manifest.epoch for entry in own if entry.manifest.resumable]
        if epoch not in able:
            raise StudyError(
                f"trial {trial} has no resume-capable checkpoint of epoch {epoch}",
                where=str(self.folder),
                remedy=f"choose one of {able}; storage.keep_last_n decides how many there are."
                if able
                else "nothing can be resumed from.",
            )
        return [entry.path for entry in own if entry.manifest.epoch > epoch]

    def roll_back(self, trial: int, epoch: int) -> list[Path]:
        """Set the later checkpoints aside, so that the trial resumes from this epoch; the new folders."""
        return [self._set_aside(path) for path in self.later_than(trial, epoch)]

    def set_aside_trial(self, trial: int) -> None:
        """Quarantine every checkpoint of a trial, so that it starts anew."""
        for entry in self.entries():
            if entry.manifest.trial == trial:
                self._set_aside(entry.path)

    def dispose_of(self, find: Callable[[], Iterable[Path]]) -> None:
        """Where to look for folders that can be made again; they go first under pressure."""
        self._activity.disposable = find

    def leave_room_for(self, promised: Callable[[], int]) -> None:
        """How many bytes others are still going to write under the budget, asked before each write here."""
        self._activity.promised = promised

    @contextmanager
    def owned(self, check: Callable[[], None]) -> Iterator[None]:
        """For the block, ask before each commit; what `check` raises leaves nothing committed."""
        self._activity.before_commit = check
        try:
            yield
        finally:
            self._activity.before_commit = do_nothing

    def relieve(self) -> None:
        """Prune what is unprotected where free disk is under the watermark. Only while a trial is running:
        before that it is not known what it resumes from, after that its end has pruned already."""
        with self._activity.lock:
            if self._activity.running is None or not self._disk_is_low():
                return
            self._reclaim()
            if self._disk_is_low():
                self._apply(self._plan(), "free disk is under the watermark")

    def require_room(self, needed: int = 0) -> None:
        """Make room for bytes that are no checkpoint; OutOfStorageError where nothing more may be deleted."""
        self._make_room(needed)

    def require_budget(self, least: int) -> None:
        """OutOfStorageError where the budget is under the least that holds the study to its end."""
        budget = self.policy.max_total_size
        if budget < least:
            raise OutOfStorageError(
                f"the budget of {disk.human_bytes(budget)} is too small for this study: at least "
                f"{disk.human_bytes(least)} ({least} bytes) are needed (the newest checkpoint is "
                "kept while the next is written, the best is beside them, and corpora, tokens, "
                "metrics and databases count too; `thriftune storage forecast` has the figures)",
                where="storage.max_total_size",
                remedy=f"set storage.max_total_size={least} or more; a smaller encoder or "
                "model.fine_tuning=heads needs less.",
            )

    def submit(self, checkpoint: Checkpoint) -> None:
        """Save in the background where the policy says so and the checkpoint is detached, else before
        this returns. The receipt is settled either way; a failure is raised here too where nobody
        awaits the receipt."""
        checkpoint.receipt.accept()
        if self.policy.overlap and checkpoint.detached:
            self._activity.writer.start(lambda: self._settle(checkpoint))
            return
        self.drain()
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
        """Commit a checkpoint and apply retention; settles the receipt where it succeeds.

        Raises OutOfStorageError before writing where budget or disk have no room, and where the
        disk fills up in the middle; nothing half-written is left.
        """
        if checkpoint.study != self.study_id:
            raise StudyError(
                f"the checkpoint is of the study {checkpoint.study!r}, this store of {self.study_id!r}",
                where=str(self.folder),
                remedy="save it through the catalog entry of its own study.",
            )
        self._activity.running = checkpoint.trial
        with self._activity.upkeep:
            self._make_room(disk.estimate_bytes(checkpoint))
        try:
            manifest = self._write(checkpoint, self._path(checkpoint))
            with self._activity.lock, self._activity.upkeep:
                self._apply(self._plan())
        except OSError as error:
            if files.is_out_of_space(error):
                raise self._out_of_storage(disk.estimate_bytes(checkpoint), "the disk") from error
            raise
        checkpoint.receipt.commit()
        return manifest

    # ---- writing -----------------------------------------------------------------------------

    def _path(self, checkpoint: Checkpoint) -> Path:
        trial = f"trial_{checkpoint.trial:04d}_{checkpoint.trial_id}"
        return self.folder / "trials" / trial / "checkpoints" / f"epoch_{checkpoint.epoch:04d}"

    def _write(self, checkpoint: Checkpoint, target: Path) -> Manifest:
        temporary = self._activity.writing = target.with_name(TEMPORARY + target.name)
        try:
            files.remove_tree(temporary)
            manifest = write_checkpoint(temporary, checkpoint)
            with self._activity.lock:
                self._activity.before_commit()
                self._commit(temporary, target)
        except BaseException:
            files.remove_tree(temporary)
            raise
        finally:
            self._activity.writing = None
        return manifest

    def _commit(self, temporary: Path, target: Path) -> None:
        if target.exists():
            # The same epoch, made again after a fallback. A directory cannot be replaced by one
            # rename: the older stands aside, and start() puts it back, until the new is there.
            aside = target.with_name(REPLACED + target.name)
            files.rename(target, aside)
            files.rename(temporary, target)
            files.remove_tree(aside)
        else:
            files.rename(temporary, target)

    def _make_room(self, needed: int) -> None:
        """Relieve the pressure step by step (SPEC 6.5) until `needed` bytes fit; OutOfStorageError."""
        with self._activity.lock:
            if self._lacking(needed):
                self._reclaim()
            if (lacking := self._lacking(needed)) > 0:
                held = sum(entry.manifest.total_bytes for entry in self.entries())
                self._apply(self._plan(room_bytes=max(0, held - lacking)), "room was needed")
            if self._lacking(needed):
                raise self._out_of_storage(needed, self._narrowest(needed))

    def _lacking(self, needed: int) -> int:
        """Bytes that must go before `needed` fit into both the budget and the disk; 0 where they do."""
        return max(0, needed - self._room_in_budget(), needed - disk.disk_of(self.folder).free_bytes)

    def _room_in_budget(self) -> int:
        budget = self.policy.max_total_size
        return budget - disk.reserve_bytes(budget) - self.held_bytes() - self._activity.promised()

    def _narrowest(self, needed: int) -> str:
        return "the budget" if needed > self._room_in_budget() else "the disk"

    def _reclaim(self) -> None:
        """Step 0: what nobody needs, and what can be made again."""
        for path in [*self._debris(), *self._activity.disposable()]:
            size = files.directory_bytes(path)
            if self.policy.dry_run:
                continue
            log.info("removed %s (%s): room was needed", path, disk.human_bytes(size))
            files.remove_tree(path)

    def _debris(self) -> list[Path]:
        """Temporary and quarantined folders but the one being written."""
        return [
            path
            for prefix in (TEMPORARY, QUARANTINE)
            for path in sorted(self.folder.glob(f"trials/trial_*/checkpoints/{prefix}*"))
            if path != self._activity.writing
        ]

    def _disk_is_low(self) -> bool:
        return disk.disk_of(self.folder).is_low(self.policy.free_disk_watermark)

    def _plan(self, room_bytes: int | None = None) -> retention.Plan:
        policy = retention.Policy(
            self.policy.keep_last_n, self.policy.keep_best_k, self.policy.keep_best_k_max
        )
        pressure = retention.Pressure(
            running_trial=self._activity.running,
            resumed_from=self._activity.resumed_from,
            room_bytes=room_bytes,
            disk_low=self._disk_is_low(),
        )
        return retention.plan([entry.held for entry in self.entries()], policy, pressure)

    def _apply(self, plan: retention.Plan, cause: str = "") -> None:
        """Carry out a plan. What pressure takes (`cause`) is said aloud."""
        by_key = {entry.held.key: entry for entry in self.entries()}
        level = logging.INFO if cause else logging.DEBUG
        if self.policy.dry_run:
            for deed, keys in (("strip", plan.strip), ("delete", plan.delete)):
                for key in keys.keys() - self._activity.told[deed]:
                    log.info("dry run: would %s trial %d epoch %d: %s", deed, *key, keys[key])
                self._activity.told[deed] |= keys.keys()
            return
        # Deletions first: on a disk that is full to the last byte a strip has no room for its new manifest.
        for key, reason in plan.delete.items():
            # Renamed first: what is left of a torn deletion never counts as kept.
            doomed = by_key[key].path.with_name(f"{TEMPORARY}deleted-{by_key[key].path.name}")
            files.remove_tree(doomed)
            files.rename(by_key[key].path, doomed)
            files.remove_tree(doomed)
            log.log(level, "deleted trial %d epoch %d: %s", *key, cause or reason)
        for key, reason in plan.strip.items():
            self._strip(by_key[key])
            log.log(level, "stripped trial %d epoch %d: %s", *key, cause or reason)

    def _strip(self, entry: Entry) -> None:
        files.write_bytes(entry.path / MANIFEST, entry.manifest.stripped().to_bytes())
        for name in (OPTIMIZER, STATE):
            files.remove_file(entry.path / name)

    def quarantine(self, path: Path, cause: Exception) -> None:
        """Set a damaged checkpoint aside; it no longer counts as kept."""
        log.warning("quarantined a damaged checkpoint as %s: %s", self._set_aside(path), cause)

    def _set_aside(self, path: Path) -> Path:
        target = path.with_name(f"{QUARANTINE}{path.name}-{time.time_ns()}")
        files.rename(path, target)
        return target

    def _out_of_storage(self, needed: int, what: str) -> OutOfStorageError:
        human = disk.human_bytes
        largest = "\n".join(
            f"  {human(size):>10}  {path}" for size, path in disk.largest_files(self.folder, *self.shared)
        )
        return OutOfStorageError(
            f"{what} has no room for the next write: {human(needed)} needed, "
            f"{human(self.held_bytes())} held of a budget of "
            f"{human(self.policy.max_total_size)}, "
            f"{human(disk.disk_of(self.folder).free_bytes)} free on the disk. Largest files:\n"
            f"{largest}",
            where=str(self.folder),
            remedy="everything committed and logged is intact. Make room (`thriftune storage "
            "status`, `thriftune study delete NAME`) or raise storage.max_total_size, then run "
            "the same command again.",
        )
