"""Let an unfinished trial resume from an earlier epoch."""

from __future__ import annotations

from thriftune.config import Parameters
from thriftune.errors import StudyError
from thriftune.maintenance.studies import refuse_unknown_study
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.handle import StudyHandle
from thriftune.study.storage import open_store


def roll_back(settings: Parameters, name: str, trial: int, epoch: int, *, really: bool) -> str:
    """Let an unfinished trial resume from an earlier epoch: later checkpoints are quarantined.

    Args:
        settings: The project's parameters.
        name: The study's.
        trial: The trial's number.
        epoch: The epoch to resume after.
        really: Do it; else only say what would be done.

    Returns:
        A line that says what was done.

    Raises:
        StudyError: There is no such study or trial, or the trial has ended.
    """
    handle = StudyHandle.from_parameters(settings, name)
    record = handle.record()
    if record is None:
        refuse_unknown_study(settings, name)
    rows = OptunaStudy.open(handle, record.parameters(settings.project_folder)).trials()
    if trial >= len(rows) or rows[trial].state.is_finished():
        raise StudyError(
            f"trial {trial} has already ended" if trial < len(rows) else f"there is no trial {trial}",
            where=f"study {name!r}",
            remedy="only a trial that was interrupted can be rolled back.",
        )
    with handle.ownership(exclusive=True):
        store = open_store(handle.folder, handle.id, settings.storage)
        later = store.catalogue.later_than(trial, epoch)
        if really:
            store.trials.roll_back(trial, epoch)
    names = ", ".join(path.name for path in later) or "nothing"
    if not really:
        return f"would set aside {names}; trial {trial} would resume after epoch {epoch}; add --yes"
    return f"set aside {names}; running the study again resumes trial {trial} after epoch {epoch}"
