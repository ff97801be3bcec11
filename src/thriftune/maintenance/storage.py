"""What a person does about stored bytes: verify and clean them, and see what fills a disk."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from thriftune import files
from thriftune.checkpoints.disk import disk_of, largest_files
from thriftune.checkpoints.manifest import MANIFEST
from thriftune.checkpoints.stored import QUARANTINE, TEMPORARY, read_entry
from thriftune.config import Parameters
from thriftune.errors import DamageError, NewerFormatError, OutOfStorageError, RefusedError, StudyError
from thriftune.study.handle import ownership
from thriftune.study.layout import journals_of
from thriftune.study.record import STUDY
from thriftune.units import human_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DamagedFile:
    """A file of a checkpoint that is not what the manifest says."""

    file: str
    problem: str


@dataclass(frozen=True)
class UnneededFolder:
    """A folder that no study needs."""

    path: str
    kind: str
    """What it is: temporary, quarantined, or an orphan."""
    bytes: int


def no_room(settings: Parameters) -> OutOfStorageError:
    """Return the report of a disk that filled up under something else than a checkpoint.

    Args:
        settings: The project's parameters.
    """
    places = list(settings.folders().values())
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


def verify_all(models: Path) -> list[DamagedFile]:
    """Return a row for every file of every checkpoint that is not what its manifest says.

    Args:
        models: The folder that storage.root names.
    """
    failed = []
    for folder in sorted(models.glob("study_*/trials/trial_*/checkpoints/epoch_*")):
        try:
            read_entry(folder).verify()
        except (DamageError, NewerFormatError) as error:
            failed.append(DamagedFile(error.where or str(folder / MANIFEST), error.message))
    return failed


def clean(models: Path, optuna_url: str | None = None, *, really: bool) -> list[UnneededFolder]:
    """List what no study needs, and delete it where `really`.

    A study is held while its folders are deleted, so that no run of it starts meanwhile; one that a process
    works on is left alone.

    Args:
        models: The folder that storage.root names.
        optuna_url: Of the server that says who owns a study; None: there is none.
        really: Delete; else only list.

    Returns:
        A row for each folder: path, kind, bytes.
    """
    rows = []
    for study in sorted(path for path in models.glob("study_*") if path.is_dir()):
        if _is_at_work(study, optuna_url):
            continue
        try:
            with ownership(study, optuna_url) if really else nullcontext():
                rows += _clean_study(study, really=really)
        except RefusedError as error:  # a run has started since
            log.warning("skipped: %s", error)
    return rows


def _clean_study(study: Path, *, really: bool) -> list[UnneededFolder]:
    rows = []
    for folder, kind in _unneeded(study):
        rows.append(UnneededFolder(str(folder), kind, files.directory_bytes(folder)))
        if really:
            files.remove_tree(folder)
    return rows


def _unneeded(study: Path) -> list[tuple[Path, str]]:
    """Return (folder, kind) of everything in a study's folder that the study does not need."""
    if not (study / STUDY).exists():
        # With journals it is a study that has lost its record, which can be put back from a copy.
        return [] if journals_of(study) else [(study, "orphan: no study.json")]
    kinds = {TEMPORARY: "temporary", QUARANTINE: "quarantined"}
    return [
        (folder, kind)
        for folder in sorted(study.glob("trials/trial_*/checkpoints/*"))
        for prefix, kind in kinds.items()
        if folder.name.startswith(prefix)
    ]


def _is_at_work(study: Path, optuna_url: str | None) -> bool:
    """Return whether a process works on a study; True where that cannot be known here."""
    try:
        return ownership(study, optuna_url).is_held()
    except StudyError as error:
        log.warning("skipped: %s", error)
        return True
