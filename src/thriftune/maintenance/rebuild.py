"""Recreates the tracking databases from study.json, config.yaml and the journals alone."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from thriftune.config import Parameters
from thriftune.databases.health import is_file_damaged
from thriftune.databases.location import MLFLOW_DATABASE, OPTUNA_DATABASE, mlflow_uri
from thriftune.databases.sqlite import SQLITE, move_aside
from thriftune.maintenance.flush import flush_all, with_store_of
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.restore import journaled_trials, restore_trials
from thriftune.study.file_locks import StudyLock
from thriftune.study.handle import StudyHandle, handles
from thriftune.study.opening import FILES, move
from thriftune.study.record import require_record
from thriftune.tracking.journal import CURSOR

log = logging.getLogger(__name__)


def rebuild(settings: Parameters, *, really: bool, moving: bool = False) -> list[str]:
    """Set the databases aside and fill new ones from the journals.

    StudyError is raised while a process works on one of the studies, and for one that another arbiter keeps.

    Args:
        settings: The project's parameters.
        really: Do it; else only say what would be done.
        moving: Studies that another arbiter keeps are the configured one's from then on.

    Returns:
        Lines that say what was done.
    """
    found, arbiter = handles(settings), ""
    with ExitStack() as stack:
        for handle in found:  # for as long as it takes: a run that is started meanwhile is refused
            arbiter = stack.enter_context(handle.ownership(exclusive=True, moving=moving)).arbiter
            if require_record(handle.folder).arbiter == FILES != arbiter:
                stack.enter_context(StudyLock(handle.folder))
        for handle in found if really else ():
            move(handle.folder, arbiter, settings)
        return _rebuild(settings, found, really=really)


def _rebuild(settings: Parameters, found: list[StudyHandle], *, really: bool) -> list[str]:
    databases = _databases(settings, found)
    studies = ", ".join(handle.name for handle in found) or "no study"
    if not really:
        files = ", ".join(map(str, databases)) or "no file (missing rows are added to databases of a server)"
        return [f"would set aside {files} and recreate them from the journals of {studies}; add --yes"]
    for handle in found:
        journaled_trials(handle, 0)  # raises for a missing or damaged journal, before anything is set aside
    lines = []
    for database in databases:
        aside = move_aside(database)
        if aside is not None:
            lines.append(f"set aside {aside}; it counts towards the budget until you delete it")
    for handle in found:
        record = handle.record()
        assert record is not None
        parameters = record.parameters(settings.project_folder)
        restored = restore_trials(handle, OptunaStudy.open(handle, parameters), parameters)
        lines.append(f"{handle.name}: {restored} trials")
        for cursor in handle.folder.glob(f"**/{CURSOR}"):
            cursor.unlink()
    lines.append(f"{flush_all(settings, owned=True, say=lines.append)} rows sent to MLflow")
    return lines


def _databases(settings: Parameters, found: list[StudyHandle]) -> list[Path]:
    """Return what is set aside: Optuna's database, and of MLflow's stores the project's own SQLite file.

    Another SQLite file only where it is damaged, since it may hold runs of other projects.
    """
    own = settings.tracking.folder / MLFLOW_DATABASE
    stores = {mlflow_uri(settings.tracking)}
    for handle in found:
        record = handle.record()
        assert record is not None
        stores.add(mlflow_uri(with_store_of(settings, record).tracking))
    paths = [Path(uri.removeprefix(SQLITE)) for uri in sorted(stores) if uri.startswith(SQLITE)]
    mlflow = [path for path in paths if path == own or is_file_damaged(path)]
    # That of a server is not ours to set aside; what it lacks is added.
    optuna = [settings.tracking.folder / OPTUNA_DATABASE] if settings.tracking.optuna_url is None else []
    return [*optuna, *mlflow]
