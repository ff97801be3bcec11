"""Puts right what an interrupted process left in the folders of trials, and sets damage aside."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from thriftune import files
from thriftune.checkpoints.attempts import remove_unfinished
from thriftune.checkpoints.folders import trial_number
from thriftune.checkpoints.manifest import MANIFEST
from thriftune.checkpoints.stored import QUARANTINE, REPLACED, TEMPORARY, read_entry
from thriftune.errors import DamageError

log = logging.getLogger(__name__)


def checkpoint_folders(
    study_folder: Path, pattern: str, trial: int | None = None, but: Collection[int] = ()
) -> list[Path]:
    """Return the folders beside checkpoints, by name.

    Args:
        study_folder: The store's folder.
        pattern: Of their names.
        trial: Of this trial; None: of all.
        but: Trials that are left out.
    """
    name = "trial_*" if trial is None else f"trial_{trial:04d}_*"
    found = sorted(study_folder.glob(f"trials/{name}/checkpoints/{pattern}"))
    return [path for path in found if trial_number(path.parents[1].name) not in but]


def recover(study_folder: Path, trial: int | None = None, but: Collection[int] = ()) -> None:
    """Put right what an interrupted process left.

    Temporary folders and notes, and files that no manifest lists, are removed; what has no valid manifest is
    quarantined; what a cut-off replacement had set aside is put back.

    Args:
        study_folder: The store's folder.
        trial: Of this trial; None: of all.
        but: Trials that are left out.
    """
    remove_unfinished(study_folder, trial, but)
    for path in checkpoint_folders(study_folder, f"{REPLACED}*", trial, but):
        target = path.with_name(path.name.removeprefix(REPLACED))
        if target.exists():
            files.remove_tree(path)
        else:
            log.info("restored %s, whose replacement was not committed", target.name)
            files.rename(path, target)
    for path in checkpoint_folders(study_folder, f"{TEMPORARY}*", trial, but):
        log.info("removed a half-written checkpoint: %s", path.name)
        files.remove_tree(path)
    for path in checkpoint_folders(study_folder, "epoch_*", trial, but):
        try:
            listed = {MANIFEST, *read_entry(path).manifest.files}
        except DamageError as error:
            quarantine(path, error)
            continue
        for item in _unlisted(path, listed):
            log.info("removed %s/%s, which its manifest does not list", path.name, item.name)
            files.remove_tree(item)


def quarantine(path: Path, cause: Exception) -> None:
    """Set a damaged checkpoint aside; it no longer counts as kept.

    Args:
        path: The checkpoint's folder.
        cause: What is wrong with it, for the log.
    """
    log.warning("quarantined a damaged checkpoint as %s: %s", set_aside(path), cause)


def set_aside(path: Path) -> Path:
    """Rename a checkpoint's folder, so that it counts no more.

    Args:
        path: The checkpoint's folder.

    Returns:
        The new path.
    """
    target = path.with_name(f"{QUARANTINE}{path.name}-{time.time_ns()}")
    files.rename(path, target)
    return target


def _unlisted(folder: Path, listed: Collection[str]) -> Iterator[Path]:
    return (item for item in list(folder.iterdir()) if item.name not in listed)
