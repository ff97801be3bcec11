"""What a person does about stored bytes: forecast, verify, clean."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.checkpoints.disk import disk_of, human_bytes, largest_files
from thriftune.checkpoints.forecast import Workload, forecast
from thriftune.checkpoints.manifest import MANIFEST
from thriftune.checkpoints.retention import Policy
from thriftune.checkpoints.store import QUARANTINE, TEMPORARY, CheckpointStore, read_entry, verify
from thriftune.config import Parameters, parse_parameters
from thriftune.errors import DamageError, OutOfStorageError, StudyError
from thriftune.search.ownership import StudyLock
from thriftune.search.record import STUDY
from thriftune.search.study import StudyHandle

RESUMABLE_FACTOR = 3
"""With AdamW a resumable checkpoint is the weights and two moments of each."""
OTHER_BYTES_PER_TRIAL = 200_000
LIST = "`thriftune study list` shows them."


def forecast_row(settings: Parameters, model_bytes: int) -> dict[str, Any]:
    """The forecast of the configured study for a model of so many bytes."""
    storage = settings.storage
    work = Workload(
        trials=settings.study.trials,
        saves_per_trial=settings.training.epochs // storage.min_interval_epochs,
        model_bytes=model_bytes,
        resumable_bytes=RESUMABLE_FACTOR * model_bytes,
        other_bytes_per_trial=OTHER_BYTES_PER_TRIAL,
    )
    policy = Policy(storage.keep_last_n, storage.keep_best_k, storage.keep_best_k_max)
    found = asdict(forecast(work, policy, storage.max_total_size))
    trial, save = found.pop("most_at")
    return {
        "model_bytes": model_bytes,
        "trials": work.trials,
        "budget_bytes": storage.max_total_size,
        **found,
        "most_at_trial": trial,
        "most_at_epoch": (save + 1) * storage.min_interval_epochs,
    }


def forecast_line(row: dict[str, Any]) -> str:
    """The forecast's conclusion in one line."""
    human = human_bytes
    if not row["fits"]:
        return (
            f"storage: a budget of {human(row['budget_bytes'])} does not hold this study; "
            f"at least {human(row['least_budget_bytes'])} are needed, at most "
            f"{human(row['most_bytes'])} would be held"
        )
    return (
        f"storage: at most {human(row['most_bytes'])} of {human(row['budget_bytes'])} will be held, "
        f"{human(row['written_bytes'])} written in all; keeping everything would take "
        f"{human(row['keep_all_bytes'])}"
    )


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
    handle = StudyHandle(name, root / settings.storage.root, root / settings.tracking.root)
    record = handle.record()
    if record is None:
        raise StudyError(f"there is no study {name!r}", where=str(handle.folder), remedy=LIST)
    rows = handle.optuna(parse_parameters(record["config"])).trials()
    if trial >= len(rows) or rows[trial].state.is_finished():
        raise StudyError(
            f"trial {trial} is over" if trial < len(rows) else f"there is no trial {trial}",
            where=f"study {name!r}",
            remedy="only a trial that was interrupted can be rolled back.",
        )
    with StudyLock(handle.folder):
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


def debris(models: Path) -> Iterator[tuple[Path, str]]:
    """(folder, what it is) of everything that no study needs. A study at work is left out."""
    for study in sorted(models.glob("study_*")):
        if StudyLock(study).is_held():
            continue
        if not (study / STUDY).exists():
            yield study, "orphan: no study.json"
            continue
        for folder in sorted(study.glob("trials/trial_*/checkpoints/*")):
            if folder.name.startswith(TEMPORARY):
                yield folder, "temporary"
            elif folder.name.startswith(QUARANTINE):
                yield folder, "quarantined"


def clean(models: Path, *, really: bool) -> list[dict[str, Any]]:
    """List what `debris` finds, and delete it where `really`."""
    rows = []
    for folder, kind in debris(models):
        rows.append({"path": str(folder), "kind": kind, "bytes": files.directory_bytes(folder)})
        if really:
            shutil.rmtree(folder)
    return rows
