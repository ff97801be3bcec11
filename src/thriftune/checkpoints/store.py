"""The checkpoint store of one study: atomic, verified, under a byte budget.

It decides nothing about what is kept: it executes the plans of `retention`. A save is: estimate, make
room, write to a temporary directory (hashing on the way, every file fsynced, the manifest last), rename,
fsync the parent, then retention. A reader sees a whole checkpoint or none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from thriftune import __version__, files
from thriftune.checkpoints import disk, retention
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    MODEL,
    OPTIMIZER,
    STATE,
    FileFact,
    Manifest,
    read_manifest,
)
from thriftune.checkpoints.tensors import describe, read_tensors, serialise, write_hashed
from thriftune.config import StorageConfig
from thriftune.errors import DamageError, OutOfStorageError, StudyError

log = logging.getLogger(__name__)

TEMPORARY, QUARANTINE = ".tmp-", "quarantine-"


@dataclass(frozen=True)
class Entry:
    """A committed checkpoint and its folder."""

    path: Path
    manifest: Manifest

    @property
    def held(self) -> retention.Held:
        """As retention sees it."""
        facts = self.manifest.files
        return retention.Held(
            trial=self.manifest.trial,
            epoch=self.manifest.epoch,
            value=self.manifest.value,
            resumable=self.manifest.resumable,
            model_bytes=facts[MODEL].size,
            total_bytes=self.manifest.total_bytes,
        )


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint in memory; optimizer and state are empty once stripped."""

    entry: Entry
    model: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]


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
        self._running: int | None = None
        self._resumed_from: retention.Key | None = None

    # ---- reading -----------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Every checkpoint with a valid manifest, by trial and epoch."""
        found = []
        for path in sorted(self.folder.glob("trials/trial_*/checkpoints/epoch_*")):
            try:
                found.append(Entry(path, read_manifest(path)))
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
        return files.directory_bytes(self.folder, *self.shared)

    def newest_valid(self, trial: int, signature: Mapping[str, Any]) -> Loaded | None:
        """The newest resume-capable checkpoint of a trial, verified; damaged ones are quarantined
        and the next older is tried. StudyError where it is whole but of another model."""
        own = [e for e in self.entries() if e.manifest.trial == trial and e.manifest.resumable]
        for entry in reversed(own):
            try:
                return self.load(entry, signature)
            except DamageError as error:
                self._quarantine(entry.path, error)
        return None

    def load(self, entry: Entry, signature: Mapping[str, Any]) -> Loaded:
        """Verify every hash and the signature, then read. DamageError, StudyError."""
        verify(entry)
        _check_signature(entry, signature)
        resumable = entry.manifest.resumable
        return Loaded(
            entry=entry,
            model=read_tensors(entry.path / MODEL),
            optimizer=read_tensors(entry.path / OPTIMIZER) if resumable else {},
            state=files.read_json(entry.path / STATE) if resumable else {},
        )

    # ---- the life of a trial -----------------------------------------------------------------

    def start(self) -> None:
        """Mend what an interrupted process left: temporary directories, files that no manifest
        lists, directories without a valid manifest."""
        for path in self.folder.glob(f"trials/trial_*/checkpoints/{TEMPORARY}*"):
            log.info("removed a half-written checkpoint: %s", path.name)
            files.remove_tree(path)
        for path in sorted(self.folder.glob("trials/trial_*/checkpoints/epoch_*")):
            try:
                listed = {MANIFEST, *read_manifest(path).files}
            except DamageError as error:
                self._quarantine(path, error)
                continue
            for item in path.iterdir():
                if item.name not in listed:
                    log.info("removed %s/%s, which its manifest does not list", path.name, item.name)
                    files.remove_file(item)

    def begin_trial(self, trial: int, resumed_from: Entry | None = None) -> None:
        """From now on this trial is the running one."""
        self._running = trial
        self._resumed_from = None if resumed_from is None else resumed_from.held.key

    def end_trial(self) -> None:
        """No trial is running; all that the study does not keep goes."""
        self._running = self._resumed_from = None
        self._apply(self._plan())

    def require_budget(self, model_bytes: int, resumable_bytes: int) -> None:
        """OutOfStorageError where the budget cannot hold a study of this model at all."""
        shared = self.held_bytes()
        least = disk.with_reserve(disk.least_budget_bytes(model_bytes, resumable_bytes) + shared)
        budget = self.policy.max_total_size
        if budget < least:
            raise OutOfStorageError(
                f"the budget of {disk.human_bytes(budget)} is too small for this model: at least "
                f"{disk.human_bytes(least)} ({least} bytes) are needed (the newest checkpoint is "
                "kept while the next is written, the best is beside them, and "
                f"{disk.human_bytes(shared)} of corpora, tokens and databases count too)",
                where="storage.max_total_size",
                remedy=f"set storage.max_total_size={least} or more; a smaller encoder or "
                "model.fine_tuning=heads needs less.",
            )

    def save(self, checkpoint: Checkpoint) -> Manifest:
        """Commit a checkpoint and apply retention; settles the receipt.

        Raises OutOfStorageError before writing where budget or disk have no room, and where the
        disk fills up in the middle; nothing half-written is left.
        """
        self._make_room(disk.estimate_bytes(checkpoint))
        target = self._path(checkpoint)
        try:
            manifest = self._write(checkpoint, target)
        except OSError as error:
            if files.is_out_of_space(error):
                raise self._out_of_storage(disk.estimate_bytes(checkpoint), "the disk") from error
            raise
        checkpoint.receipt.commit()
        self._apply(self._plan())
        return manifest

    # ---- writing -----------------------------------------------------------------------------

    def _path(self, checkpoint: Checkpoint) -> Path:
        trial = f"trial_{checkpoint.trial:04d}_{checkpoint.trial_id}"
        return self.folder / "trials" / trial / "checkpoints" / f"epoch_{checkpoint.epoch:04d}"

    def _write(self, checkpoint: Checkpoint, target: Path) -> Manifest:
        temporary = target.with_name(TEMPORARY + target.name)
        files.remove_tree(temporary)
        temporary.mkdir(parents=True)
        try:
            facts = {
                MODEL: _write_file(temporary / MODEL, serialise(checkpoint.model)),
                OPTIMIZER: _write_file(temporary / OPTIMIZER, serialise(checkpoint.optimizer)),
                STATE: _write_file(temporary / STATE, _json_pieces(checkpoint.state)),
            }
            manifest = _manifest(checkpoint, facts)
            files.write_bytes(temporary / MANIFEST, manifest.to_bytes())
            self._commit(temporary, target)
        except BaseException:
            files.remove_tree(temporary)
            raise
        return manifest

    def _commit(self, temporary: Path, target: Path) -> None:
        if target.exists():
            # The same epoch, made again after a kill or a fallback. It was not chosen to resume
            # from, or it would not be made again: the older stands aside until the new is there.
            aside = target.with_name(f"{QUARANTINE}{target.name}-{time.time_ns()}")
            files.rename(target, aside)
            files.rename(temporary, target)
            files.remove_tree(aside)
        else:
            files.rename(temporary, target)

    def _make_room(self, needed: int) -> None:
        budget = self.policy.max_total_size - disk.reserve_bytes(self.policy.max_total_size)
        if needed > budget - self.held_bytes() or needed > disk.disk_of(self.folder).free_bytes:
            entries = self.entries()
            others = self.held_bytes() - sum(entry.manifest.total_bytes for entry in entries)
            self._apply(self._plan(room_bytes=max(0, budget - others - needed)))
        if needed > budget - self.held_bytes():
            raise self._out_of_storage(needed, "the budget")
        if needed > disk.disk_of(self.folder).free_bytes:
            raise self._out_of_storage(needed, "the disk")

    def _plan(self, room_bytes: int | None = None) -> retention.Plan:
        policy = retention.Policy(
            self.policy.keep_last_n, self.policy.keep_best_k, self.policy.keep_best_k_max
        )
        pressure = retention.Pressure(
            running_trial=self._running,
            resumed_from=self._resumed_from,
            room_bytes=room_bytes,
            disk_low=disk.disk_of(self.folder).is_low(self.policy.free_disk_watermark),
        )
        return retention.plan([entry.held for entry in self.entries()], policy, pressure)

    def _apply(self, plan: retention.Plan) -> None:
        by_key = {entry.held.key: entry for entry in self.entries()}
        for key, reason in plan.strip.items():
            self._strip(by_key[key])
            log.debug("stripped trial %d epoch %d: %s", *key, reason)
        for key, reason in plan.delete.items():
            # Renamed first: what is left of a torn deletion never counts as kept.
            doomed = by_key[key].path.with_name(f"{TEMPORARY}deleted-{by_key[key].path.name}")
            files.rename(by_key[key].path, doomed)
            files.remove_tree(doomed)
            log.debug("deleted trial %d epoch %d: %s", *key, reason)

    def _strip(self, entry: Entry) -> None:
        files.write_bytes(entry.path / MANIFEST, entry.manifest.stripped().to_bytes())
        for name in (OPTIMIZER, STATE):
            files.remove_file(entry.path / name)

    def _quarantine(self, path: Path, cause: Exception) -> None:
        target = path.with_name(f"{QUARANTINE}{path.name}-{time.time_ns()}")
        files.rename(path, target)
        log.warning("quarantined a damaged checkpoint as %s: %s", target, cause)

    def _out_of_storage(self, needed: int, what: str) -> OutOfStorageError:
        human = disk.human_bytes
        largest = "\n".join(
            f"  {human(size):>10}  {path}" for size, path in disk.largest_files(self.folder, *self.shared)
        )
        return OutOfStorageError(
            f"{what} has no room for the next checkpoint: {human(needed)} needed, "
            f"{human(self.held_bytes())} held of a budget of "
            f"{human(self.policy.max_total_size)}, "
            f"{human(disk.disk_of(self.folder).free_bytes)} free on the disk. Largest files:\n"
            f"{largest}",
            where=str(self.folder),
            remedy="everything committed and logged is intact. Make room (`thriftune storage "
            "status`, `thriftune study delete NAME`) or raise storage.max_total_size, then run "
            "the same command again.",
        )


def verify(entry: Entry) -> None:
    """DamageError at the first file that is not what its manifest says."""
    for name, fact in entry.manifest.files.items():
        path = entry.path / name
        try:
            regular = path.is_file() and not path.is_symlink()
            size = path.stat().st_size if regular else -1
            found = files.sha256_file(path) if size == fact.size else ""
        except OSError as error:
            raise DamageError(f"cannot be read: {error}", where=str(path)) from error
        if not regular:
            raise DamageError("is missing, or no regular file", where=str(path))
        if found != fact.sha256:
            raise DamageError(
                f"expected {fact.size} bytes of SHA-256 {fact.sha256}, found {size} bytes"
                + (f" of {found}" if found else ""),
                where=str(path),
            )


def _check_signature(entry: Entry, expected: Mapping[str, Any]) -> None:
    stored = entry.manifest.signature
    differences = [
        f"{key}: the checkpoint has {stored.get(key)!r}, the model {value!r}"
        for key, value in expected.items()
        if stored.get(key) != value
    ]
    if differences:
        raise StudyError(
            "the checkpoint is whole, but of another model:\n  " + "\n  ".join(differences),
            where=str(entry.path),
            remedy="use the configuration it was made with, or another study.name.",
        )


def _write_file(path: Path, pieces: Iterator[memoryview | bytes]) -> FileFact:
    files.announce("write", path)
    with path.open("wb") as handle:
        fact = write_hashed(handle, pieces)
        files.fsync_file(handle, path)
    return fact


def _json_pieces(value: Mapping[str, Any]) -> Iterator[bytes]:
    import json

    yield json.dumps(value, allow_nan=False).encode("utf-8")


def _manifest(checkpoint: Checkpoint, facts: Mapping[str, FileFact]) -> Manifest:
    return Manifest(
        format_version=FORMAT_VERSION,
        study=checkpoint.study,
        trial=checkpoint.trial,
        trial_id=checkpoint.trial_id,
        epoch=checkpoint.epoch,
        step=checkpoint.step,
        attempt=checkpoint.attempt,
        value=checkpoint.value,
        metrics=dict(checkpoint.metrics),
        files=dict(facts),
        signature={**checkpoint.signature, "tensors": describe(checkpoint.model)},
        code_version=__version__,
        data_fingerprint=checkpoint.data_fingerprint,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
