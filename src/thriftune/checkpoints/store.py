"""The checkpoint store of one study: atomic, verified, under a byte budget.

It decides nothing about what is kept: it executes the plans of `retention`. A save is: estimate, make
room, write to a temporary directory (hashing on the way, every file fsynced, the manifest last), rename,
fsync the parent, then retention. A reader sees a whole checkpoint or none. `submit` does it while training
goes on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftune import files
from thriftune.checkpoints import disk, retention
from thriftune.checkpoints.attempts import Attempt, read_attempts, remove_attempt, write_attempt
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
    read_model,
    verify,
)
from thriftune.checkpoints.manifest import MANIFEST, MODEL, OPTIMIZER, STATE, Manifest
from thriftune.checkpoints.recovery import checkpoint_folders, mend, quarantine, set_aside
from thriftune.checkpoints.session import Disposal, Guard, activity_in, alone, commit_nothing, do_nothing
from thriftune.checkpoints.tensors import PARALLEL_BYTES, tensors_in
from thriftune.checkpoints.writing import write_checkpoint
from thriftune.config import StorageConfig
from thriftune.errors import DamageError, OutOfStorageError, StudyError, TakenOverError
from thriftune.units import human_bytes

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class CheckpointStore:
    """All checkpoints of one study, below its folder.

    shared: folders of what studies share (corpora, token stores, tracking databases). Their bytes count in
    full against the budget of each study.
    parallel_bytes: a checkpoint of so many bytes has two files written, and verified, at a time.
    """

    def __init__(
        self,
        folder: Path,
        study_id: str,
        policy: StorageConfig,
        shared: Sequence[Path] = (),
        parallel_bytes: int = PARALLEL_BYTES,
    ) -> None:
        self.folder, self.study_id, self.policy = Path(folder), study_id, policy
        self.shared = tuple(Path(path) for path in shared)
        self.parallel_bytes = parallel_bytes
        self._activity = activity_in(self.folder)

    def __repr__(self) -> str:
        held = self.entries()
        kept = ", ".join(f"trial {e.manifest.trial} epoch {e.manifest.epoch}" for e in held[:SHOWN])
        more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
        return f"CheckpointStore({str(self.folder)!r}: {kept or 'no checkpoint'}{more})"

    # ---- reading -----------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Every checkpoint with a valid manifest that counts (see attempts), by trial and epoch."""
        attempts = read_attempts(self.folder)
        return [entry for entry in self._committed() if _counts(entry, attempts)]

    def _committed(self) -> list[Entry]:
        """Every checkpoint with a valid manifest, by trial and epoch."""
        found = []
        for path in self._activity.folders.epochs():
            try:
                found.append(read_entry(self.folder / path))
            except DamageError:
                continue  # never counted; newest_whole and start() report and quarantine it
        return sorted(found, key=lambda entry: entry.held.key)

    def best(self) -> Entry | None:
        """The study's best committed checkpoint."""
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

    def running(self) -> set[int]:
        """The trials that are under way, here, elsewhere, or interrupted."""
        return {trial for trial, attempt in read_attempts(self.folder).items() if attempt.running}

    def newest_whole(self, trial: int) -> Loaded | None:
        """The newest resume-capable checkpoint of a trial, every hash verified; damaged ones are quarantined
        and the next older is tried. It may be another model's: see check.

        The study is not locked while gigabytes are read, so that others can commit.
        """
        while (found := self._newest_resumable(trial)) is not None:
            entry, seen = found
            try:
                return _read(entry, self.parallel_bytes)
            except DamageError as error:
                with self._activity.exclusive():
                    # Others may have deleted, stripped or replaced it meanwhile: then it is not damaged.
                    if seen and _state_of(entry.path) == seen:
                        quarantine(entry.path, error)
        return None

    def _newest_resumable(self, trial: int) -> tuple[Entry, list[tuple[int, int, int]]] | None:
        """With the state of its folder."""
        with self._activity.exclusive():
            own = [e for e in self.entries() if e.manifest.trial == trial and e.manifest.resumable]
            return (own[-1], _state_of(own[-1].path)) if own else None

    def check(self, entry: Entry, signature: Mapping[str, Any]) -> None:
        """StudyError where the checkpoint is another model's or another study's."""
        check_signature(entry, {"study": self.study_id, **signature})

    def load_model(self, entry: Entry, signature: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Check the signature, then read the model's tensors, hashed on the way, and nothing else.

        Raises:
            StudyError: The checkpoint is another model's or another study's.
            DamageError: The model's file is not what the manifest says.
        """
        self.check(entry, signature)
        return read_model(entry, self.parallel_bytes)

    def verify(self, entry: Entry) -> None:
        """DamageError at the first file that is not what its manifest says."""
        verify(entry, self.parallel_bytes)

    def explain(self) -> list[tuple[Entry, str]]:
        """Every checkpoint that is held, and why."""
        entries = self.entries()
        plan = self._plan(entries=entries)
        reasons = {**plan.keep, **plan.strip, **plan.delete}
        return [(entry, reasons[entry.held.key]) for entry in entries]

    # ---- the life of a trial -----------------------------------------------------------------

    def start(self, but: Collection[int] = ()) -> None:
        """Mend what an interrupted process left; but: trials that other processes work on."""
        with self._activity.exclusive():
            attempts = read_attempts(self.folder)
            for entry in self._committed() if attempts else ():
                if entry.manifest.trial not in but and not _counts(entry, attempts):
                    log.warning("deleted %s: its attempt had been taken over", entry.path)
                    self._delete(entry.path)
            mend(self.folder, but=but)

    def take_over(self, trial: int) -> None:
        """Mend what the process left that had the trial before."""
        with self._activity.exclusive():
            self._activity.folders.reopen(trial)
            mend(self.folder, trial)

    def next_attempt(self, trial: int) -> int:
        """The number of an attempt that would begin now."""
        known = read_attempts(self.folder).get(trial)
        return 1 if known is None else known.number + 1

    def begin_trial(self, trial: int, resumed_from: Entry | None = None, attempt: int = 1) -> None:
        """From now on this process runs the trial; what earlier attempts commit later does not count."""
        self._activity.folders.reopen(trial)
        with self._activity.exclusive():
            accepted = [entry.manifest.epoch for entry in self.entries() if entry.manifest.trial == trial]
            epoch = None if resumed_from is None else resumed_from.manifest.epoch
            write_attempt(self.folder, Attempt(trial, attempt, epoch, accepted))
            self._activity.own, self._activity.attempt = trial, attempt

    def check_attempt(self) -> None:
        """TakenOverError where a later attempt at this process's trial has begun."""
        trial = self._activity.own
        known = None if trial is None else read_attempts(self.folder).get(trial)
        if known is not None and known.number > self._activity.attempt:
            raise TakenOverError(
                f"trial {trial} was taken over by another process (attempt {known.number}); nothing more of "
                "it is committed here",
                where=str(self.folder),
            )

    def leave_trial(self) -> None:
        """This process works on its trial no longer, which is not over; what it still writes is void."""
        self.drain()
        self._activity.own = None

    def end_trial(self, trial: int | None = None) -> None:
        """The trial is over, by default all are; all that the study does not keep goes."""
        self.drain()
        with self._activity.exclusive():
            for number, attempt in read_attempts(self.folder).items():
                if number == trial or trial is None:
                    self._end_attempt(attempt)
            if trial is None or trial == self._activity.own:
                self._activity.own = None
            self._apply(self._plan())

    def _end_attempt(self, attempt: Attempt) -> None:
        if attempt.number <= 1:
            remove_attempt(self.folder, attempt.trial)
        elif attempt.running:  # what an earlier one commits from now on does not count either
            write_attempt(self.folder, replace(attempt, running=False, reserved_bytes=0))

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
        return [set_aside(path) for path in self.later_than(trial, epoch)]

    def set_aside_trial(self, trial: int) -> None:
        """Quarantine every checkpoint of a trial, so that it starts anew."""
        for entry in self.entries():
            if entry.manifest.trial == trial:
                set_aside(entry.path)

    def dispose_by(self, disposal: Disposal) -> None:
        """Set what finds folders that can be made again; they go first under pressure."""
        self._activity.dispose = disposal

    def leave_room_for(self, promised: Callable[[], int]) -> None:
        """How many bytes others are still going to write under the budget, asked before each write here."""
        self._activity.promised = promised

    @contextmanager
    def owned(self, check: Callable[[], None], guard: Guard | None = None) -> Iterator[None]:
        """For the block, ask before each commit; what `check` raises leaves nothing committed.

        guard: where other processes work on the study too, the context in which one alone plans, deletes
        and commits.
        """
        self._activity.before_commit = check
        self._activity.guard, self._activity.shared = guard or alone, guard is not None
        try:
            yield
        finally:
            # A write that a signal did not wait for may still be on its way, and nobody guards it any more.
            over = self._activity.writer.drain(0)
            self._activity.before_commit = do_nothing if over else commit_nothing
            self._activity.guard, self._activity.shared = alone, False

    def relieve(self) -> None:
        """Prune what is unprotected where free disk is under the watermark. Only while a trial is running:
        before that it is not known what it resumes from, after that its end has pruned already."""
        if self._activity.own is None or not self._disk_is_low():
            return
        with self._activity.exclusive():
            self._reclaim(on_this_disk=True)
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
                f"the budget of {human_bytes(budget)} is too small for this study: at least "
                f"{human_bytes(least)} ({least} bytes) are needed (the newest checkpoint is "
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
        with self._activity.upkeep:
            self._claim(checkpoint)
        try:
            manifest = self._write(checkpoint, self._path(checkpoint))
            with self._activity.upkeep, self._activity.exclusive():
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

    def _claim(self, checkpoint: Checkpoint) -> None:
        """Make room for a checkpoint, and let the others know of it before it is written."""
        needed = disk.estimate_bytes(checkpoint)
        with self._activity.exclusive():
            self._activity.before_commit()
            self.check_attempt()
            if self._activity.own != checkpoint.trial:
                self.begin_trial(checkpoint.trial, attempt=checkpoint.attempt)
            self._make_room(needed)
            self._reserve(checkpoint.trial, needed)

    def _reserve(self, trial: int, needed: int) -> None:
        attempt = read_attempts(self.folder).get(trial) if self._activity.shared else None
        if attempt is not None and attempt.number == self._activity.attempt:
            write_attempt(self.folder, replace(attempt, reserved_bytes=needed))

    def _reserved(self) -> int:
        """Bytes that other processes' writes in flight have not yet taken."""
        if not self._activity.shared:
            return 0
        outstanding = 0
        for attempt in read_attempts(self.folder).values():
            if attempt.reserved_bytes and attempt.trial != self._activity.own:
                begun = self.folder.glob(f"trials/trial_{attempt.trial:04d}_*/checkpoints/{TEMPORARY}epoch_*")
                outstanding += max(0, attempt.reserved_bytes - files.directory_bytes(*begun))
        return outstanding

    def _write(self, checkpoint: Checkpoint, target: Path) -> Manifest:
        temporary = self._activity.writing = target.with_name(TEMPORARY + target.name)
        try:
            files.remove_tree(temporary)
            manifest = write_checkpoint(temporary, checkpoint, self.parallel_bytes)
            with self._activity.exclusive():
                self._activity.before_commit()
                self.check_attempt()
                self._commit(temporary, target)
                self._reserve(checkpoint.trial, 0)
        except BaseException:
            files.remove_tree(temporary)
            # A disk that is full to the last byte has no room for the note; the next attempt writes it anew.
            with suppress(OSError):
                self._reserve(checkpoint.trial, 0)
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
        """Relieve the pressure step by step until `needed` bytes fit; OutOfStorageError."""
        with self._activity.exclusive():
            lacking = self._lacking(needed)  # it walks all shared folders, so not more often than needed
            if lacking:
                self._reclaim(on_this_disk=needed <= self._room_in_budget())
                lacking = self._lacking(needed)
            if lacking:
                held = sum(entry.manifest.total_bytes for entry in self.entries())
                self._apply(self._plan(room_bytes=max(0, held - lacking)), "room was needed")
                lacking = self._lacking(needed)
            if lacking:
                raise self._out_of_storage(needed, self._narrowest(needed))

    def _lacking(self, needed: int) -> int:
        """Bytes that must go before `needed` fit into both the budget and the disk; 0 where they do."""
        free = disk.disk_of(self.folder).free_bytes - self._reserved()
        return max(0, needed - self._room_in_budget(), needed - free)

    def _room_in_budget(self) -> int:
        budget = self.policy.max_total_size
        beside = disk.reserve_bytes(budget) + self._activity.promised() + self._reserved()
        return budget - beside - self.held_bytes()

    def _narrowest(self, needed: int) -> str:
        return "the budget" if needed > self._room_in_budget() else "the disk"

    def _reclaim(self, *, on_this_disk: bool) -> None:
        """Step 0: what nobody needs, and what can be made again. on_this_disk: not what lies on another
        one, since the disk is full and not the budget."""
        if self.policy.dry_run:
            return

        def remove(path: Path) -> None:
            if on_this_disk and not disk.same_disk(path, self.folder):
                return
            log.info("removed %s (%s): room was needed", path, human_bytes(files.directory_bytes(path)))
            files.remove_tree(path)

        for path in self._debris():
            remove(path)
        self._activity.dispose(remove)

    def _debris(self) -> list[Path]:
        """Temporary and quarantined folders but those that are being written."""
        elsewhere = self.running() - {self._activity.own} if self._activity.shared else set()
        return [
            path
            for prefix in (TEMPORARY, QUARANTINE)
            for path in checkpoint_folders(self.folder, f"{prefix}*", but=elsewhere)
            if path != self._activity.writing
        ]

    def _disk_is_low(self) -> bool:
        return disk.disk_of(self.folder).is_low(self.policy.free_disk_watermark)

    def _plan(self, room_bytes: int | None = None, entries: Sequence[Entry] | None = None) -> retention.Plan:
        """What retention keeps of these entries, by default of all that are there now."""
        policy = retention.Policy.of(self.policy)
        running = [attempt for attempt in read_attempts(self.folder).values() if attempt.running]
        pressure = retention.Pressure(
            running_trials=frozenset(attempt.trial for attempt in running),
            resumed_from=frozenset(
                (attempt.trial, attempt.resumed_from)
                for attempt in running
                if attempt.resumed_from is not None
            ),
            room_bytes=room_bytes,
            disk_low=self._disk_is_low(),
        )
        held = [entry.held for entry in (self.entries() if entries is None else entries)]
        return retention.plan(held, policy, pressure)

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
            self._delete(by_key[key].path)
            log.log(level, "deleted trial %d epoch %d: %s", *key, cause or reason)
        for key, reason in plan.strip.items():
            self._strip(by_key[key])
            log.log(level, "stripped trial %d epoch %d: %s", *key, cause or reason)

    def _delete(self, path: Path) -> None:
        """Renamed first: what is left of a torn deletion never counts as kept."""
        doomed = path.with_name(f"{TEMPORARY}deleted-{path.name}")
        files.remove_tree(doomed)
        files.rename(path, doomed)
        files.remove_tree(doomed)

    def _strip(self, entry: Entry) -> None:
        files.write_bytes(entry.path / MANIFEST, entry.manifest.stripped().to_bytes())
        for name in (OPTIMIZER, STATE):
            files.remove_file(entry.path / name)

    def _out_of_storage(self, needed: int, what: str) -> OutOfStorageError:
        human = human_bytes
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


def _state_of(folder: Path) -> list[tuple[int, int, int]]:
    """What differs once a checkpoint was moved, replaced or stripped; [] once it is gone."""
    try:
        facts = [path.stat() for path in (folder, folder / MANIFEST)]
    except OSError:
        return []
    return [(fact.st_dev, fact.st_ino, fact.st_ctime_ns) for fact in facts]


def _read(entry: Entry, parallel_bytes: int) -> Loaded:
    content = read_all(entry, parallel_bytes)
    resumable = entry.manifest.resumable
    return Loaded(
        entry=entry,
        model=tensors_in(content[MODEL]),
        optimizer=tensors_in(content[OPTIMIZER]) if resumable else {},
        state=json.loads(bytes(content[STATE].numpy())) if resumable else {},
    )


def _counts(entry: Entry, attempts: Mapping[int, Attempt]) -> bool:
    attempt = attempts.get(entry.manifest.trial)
    return attempt is None or attempt.counts(entry.manifest.attempt, entry.manifest.epoch)
