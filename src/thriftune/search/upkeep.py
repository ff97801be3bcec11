"""What a person does about stored bytes: verify, clean, roll back."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.checkpoints.disk import disk_of, human_bytes, largest_files
from thriftune.checkpoints.entries import QUARANTINE, TEMPORARY, read_entry, verify
from thriftune.checkpoints.manifest import MANIFEST
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import Parameters, parse_parameters
from thriftune.errors import DamageError, OutOfStorageError, StudyError
from thriftune.search.overview import no_such_study
from thriftune.search.record import STUDY
from thriftune.search.study import StudyHandle, ownership

log = logging.getLogger(__name__)


def no_room(root: Path, settings: Parameters) -> OutOfStorageError:
    """The report of a disk that filled up under something else than a checkpoint (SPEC 6.6)."""
    places = [
        root / place
        for place in (
            settings.storage.root,
            settings.corpus.root,
            settings.corpus.cache,
            settings.tracking.root,
            settings.observe.log_root,
        )
    ]
    disks = "\n".join(
        f"  {human_bytes(disk_of(place).free_bytes):>10} free of "
        f"{human_bytes(disk_of(place).total_bytes)} at {place}"
        for place in places
    )
    largest = "\n".join(f"  {human_bytes(size):>10}  {path}" for size, path in largest_files(*places))
    return OutOfStorageError(
        f"the disk filled up in the middle of a write:\n{disks}\nLargest files:\n{largest}",
        remedy="everything committed and logged is intact. Make room (`thriftune storage status`, "
        "`thriftune storage clean`, `thriftune study delete NAME`), then run the same command again.",
    )


def roll_back(root: Path, settings: Parameters, name: str, trial: int, epoch: int, *, really: bool) -> str:
    """Let an unfinished trial resume from an earlier epoch: later checkpoints are set aside."""
    handle = StudyHandle.of(root, settings, name)
    record = handle.record()
    if record is None:
        raise no_such_study(root, settings, name)
    rows = handle.optuna(parse_parameters(record["config"])).trials()
    if trial >= len(rows) or rows[trial].state.is_finished():
        raise StudyError(
            f"trial {trial} is over" if trial < len(rows) else f"there is no trial {trial}",
            where=f"study {name!r}",
            remedy="only a trial that was interrupted can be rolled back.",
        )
    with handle.ownership(alone=True):
        store = CheckpointStore(handle.folder, handle.id, settings.storage)
        later = store.later_than(trial, epoch)
        if really:
            store.roll_back(trial, epoch)
    names = ", ".join(path.name for path in later) or "nothing"
    if not really:
        return f"would set aside {names}; trial {trial} would resume after epoch {epoch}; add --yes"
    return f"set aside {names}; the same command as before resumes trial {trial} after epoch {epoch}"


def verify_all(models: Path) -> list[dict[str, Any]]:
    """A row for every file of every checkpoint below `models` that is not what its manifest says."""
    failed = []
    for folder in sorted(models.glob("study_*/trials/trial_*/checkpoints/epoch_*")):
        try:
            verify(read_entry(folder))
        except DamageError as error:
            failed.append({"file": error.where or str(folder / MANIFEST), "problem": error.message})
    return failed


def debris(models: Path, optuna_url: str | None = None) -> Iterator[tuple[Path, str]]:
    """(folder, what it is) of everything that no study needs. A study at work is left out."""
    for study in sorted(models.glob("study_*")):
        if not study.is_dir() or _is_at_work(study, optuna_url):
            continue
        if not (study / STUDY).exists():
            yield study, "orphan: no study.json"
            continue
        for folder in sorted(study.glob("trials/trial_*/checkpoints/*")):
            if folder.name.startswith(TEMPORARY):
                yield folder, "temporary"
            elif folder.name.startswith(QUARANTINE):
                yield folder, "quarantined"


def _is_at_work(study: Path, optuna_url: str | None) -> bool:
    """Also where that cannot be known here."""
    try:
        return ownership(study, optuna_url).is_held()
    except StudyError as error:
        log.warning("left alone: %s", error)
        return True


def clean(models: Path, optuna_url: str | None = None, *, really: bool) -> list[dict[str, Any]]:
    """List what `debris` finds, and delete it where `really`."""
    rows = []
    for folder, kind in debris(models, optuna_url):
        rows.append({"path": str(folder), "kind": kind, "bytes": files.directory_bytes(folder)})
        if really:
            shutil.rmtree(folder)
    return rows
