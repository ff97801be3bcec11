"""List, show and delete studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from thriftune import files, reports
from thriftune.config import Parameters, suggest
from thriftune.errors import DamageError, NewerFormatError, StudyError, ThriftuneError
from thriftune.maintenance.flush import with_store_of
from thriftune.study.handle import StudyHandle, find_studies
from thriftune.study.marker import remove_marker
from thriftune.study.record import STUDY
from thriftune.units import human_bytes

if TYPE_CHECKING:  # which imports Optuna
    from thriftune.reports.summary import ListedStudy, StudySummary


def _handle(settings: Parameters, name: str) -> StudyHandle:
    found, damaged = find_studies(settings)
    for study in damaged:
        if study.name == name:
            raise study.error
    if name not in (handle.name for handle in found):
        refuse_unknown_study(settings, name)
    return StudyHandle.from_parameters(settings, name)


def refuse_unknown_study(settings: Parameters, name: str) -> NoReturn:
    """Raise for a name that no study below storage.root has, with the nearest one that there is.

    Args:
        settings: The project's parameters.
        name: The name.

    Raises:
        StudyError: Always.
    """
    known = [study.name for studies in find_studies(settings) for study in studies]
    raise StudyError(
        f"there is no study {name!r}{suggest(name, known)}",
        where=str(settings.storage.folder),
        remedy="`thriftune study list` names them. Where storage.root was given by --params, these commands "
        "need it too.",
    )


def list_studies(settings: Parameters) -> list[ListedStudy]:
    """Return a row for each study; for a damaged one what can be known, and the problem.

    Args:
        settings: The project's parameters.
    """
    from thriftune.search.storage import read_trials

    found, damaged = find_studies(settings)
    trials = read_trials(found[0].storage, [handle.id for handle in found]) if found else {}
    return [
        *(
            reports.listed(reports.summarise(handle, with_importances=False, trials=trials[handle.id]))
            for handle in found
        ),
        *(reports.listed_damaged(study.name, study.folder, str(study.error)) for study in damaged),
    ]


def show_study(settings: Parameters, name: str) -> StudySummary:
    """Return all that is known of one study, and whether a process works on it.

    Args:
        settings: The project's parameters.
        name: The study's.

    Returns:
        See reports.summary; `at_work` is None where it cannot be known here.
    """
    handle = _handle(settings, name)
    return {**reports.summarise(handle), "at_work": _is_at_work(handle)}


def _is_at_work(handle: StudyHandle) -> bool | None:
    try:
        return handle.ownership().is_held()
    except ThriftuneError:
        return None


def delete_study(settings: Parameters, name: str, *, really: bool, tracking: bool) -> str:
    """Delete a study's checkpoints and folder, then its Optuna study.

    Args:
        settings: The project's parameters.
        name: The study's.
        really: Do it; else only say what would be done.
        tracking: Delete its MLflow runs too.

    Returns:
        A line that says what was done.
    """
    from thriftune.search.storage import delete_optuna_study, is_known

    handle = StudyHandle.from_parameters(settings, name)
    # One whose folder is gone, or whose record is damaged, can still be deleted.
    if not (is_known(handle) or (handle.folder / STUDY).exists()):
        handle = _handle(settings, name)
    try:
        record = handle.record()
    except (DamageError, NewerFormatError):
        record = None
    own = settings if record is None else with_store_of(settings, record)
    size = human_bytes(files.directory_bytes(handle.folder))
    runs = " and its MLflow runs" if tracking else "; its MLflow runs stay (--tracking)"
    if not really:
        return f"would delete {handle.folder} ({size}) and its Optuna study{runs}; add --yes"
    with handle.ownership(exclusive=True):
        files.remove_tree(handle.folder)
    remove_marker(handle.models_root, handle.id)
    delete_optuna_study(handle.storage, handle.id)
    if tracking:
        from thriftune.tracking.parent import connect

        connect(own).delete_runs(handle.id)
    return f"deleted {handle.folder} ({size}) and its Optuna study{runs}"
