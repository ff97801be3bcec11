"""Which trials are under way: a note of each in the study's folder, so that all who plan see the same.

A note outlives its process. What an interrupted trial resumes from stays protected until it resumes; and what
an earlier attempt commits after a later one has begun does not count (a worker that was cut off and comes
back), whether the trial is over by then or not.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from thriftune import files

log = logging.getLogger(__name__)

FOLDER = "attempts"


@dataclass(frozen=True)
class Attempt:
    """The attempt at a trial that counts."""

    trial: int
    number: int
    """From 1; each process that resumes the trial raises it."""
    resumed_from: int | None = None
    """The epoch of the checkpoint that it resumed from."""
    accepted: Sequence[int] = ()
    """Epochs that earlier attempts had committed when this one began."""
    running: bool = True
    """False: the trial is over."""
    reserved_bytes: int = 0
    """What a write in flight will take; 0 where nobody else has to know."""

    def counts(self, number: int, epoch: int) -> bool:
        """Return whether a checkpoint is one of this trial's.

        Args:
            number: Of the attempt that made it.
            epoch: Its epoch.
        """
        return number >= self.number or epoch in self.accepted


def read_attempts(study_folder: Path) -> dict[int, Attempt]:
    """Return the notes by trial. One that cannot be read protects its trial, and voids nothing.

    Args:
        study_folder: The store's folder.
    """
    found = {}
    for path in sorted((study_folder / FOLDER).glob("*.json")):
        trial = int(path.stem)
        try:
            found[trial] = Attempt(**files.read_json(path))
        except FileNotFoundError:
            continue  # another process ended the trial
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s is damaged: %s", path, error)
            found[trial] = Attempt(trial, 0)
    return found


def write_attempt(study_folder: Path, attempt: Attempt) -> None:
    """Replace the note of a trial.

    Args:
        study_folder: The store's folder.
        attempt: What the note says.
    """
    files.write_json(_note(study_folder, attempt.trial), asdict(attempt))


def remove_attempt(study_folder: Path, trial: int) -> None:
    """Forget a trial; one without a note is fine.

    Args:
        study_folder: The store's folder.
        trial: Its number.
    """
    files.remove_file(_note(study_folder, trial))


def remove_unfinished(study_folder: Path, trial: int | None = None, but: Collection[int] = ()) -> None:
    """Remove notes that a kill left half-written, beside the whole ones.

    Args:
        study_folder: The store's folder.
        trial: Of this trial; None: of all.
        but: Trials that are left out.
    """
    for path in sorted((study_folder / FOLDER).glob(f"*.json{files.TEMPORARY_SUFFIX}")):
        number = int(path.name.partition(".")[0])
        if trial in (None, number) and number not in but:
            files.remove_file(path)


def _note(study_folder: Path, trial: int) -> Path:
    return study_folder / FOLDER / f"{trial:04d}.json"
