"""Makes the tracking databases anew from study.json, config.yaml and the journals alone (SPEC 8.3)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from thriftune.config import Parameters, parse_parameters
from thriftune.databases.health import is_unsound
from thriftune.databases.location import MLFLOW_DATABASE, OPTUNA_DATABASE, mlflow_uri
from thriftune.databases.sqlite import SQLITE, set_aside
from thriftune.errors import StudyError
from thriftune.maintenance.studies import flush_all, handles, with_store_of
from thriftune.search.optuna_study import OptunaStudy, TrialFacts
from thriftune.study.file_locks import StudyLock
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import save_interval
from thriftune.study.layout import JOURNAL, journals_of
from thriftune.study.record import ARBITER, FILES, move, require_record
from thriftune.tracking.journal import CURSOR, read_records

log = logging.getLogger(__name__)

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def rebuild(root: Path, settings: Parameters, *, really: bool, moving: bool = False) -> list[str]:
    """Set the databases aside, fill new ones, and say what was done; a dry run unless `really`.

    moving: studies that another arbiter keeps (see ownership) are the configured one's from then on.
    StudyError while a process works on one of the studies, and for one that another arbiter keeps.
    """
    found, arbiter = handles(root, settings), ""
    with ExitStack() as stack:
        for handle in found:  # for as long as it takes: a run that is started meanwhile is refused
            arbiter = stack.enter_context(handle.ownership(alone=True, moving=moving)).arbiter
            if require_record(handle.folder).get(ARBITER) == FILES != arbiter:
                stack.enter_context(StudyLock(handle.folder))
        for handle in found if really else ():
            move(handle.folder, arbiter, settings)
        return _rebuild(root, settings, found, really=really)


def _rebuild(root: Path, settings: Parameters, found: list[StudyHandle], *, really: bool) -> list[str]:
    databases = _databases(root, settings, found)
    studies = ", ".join(handle.name for handle in found) or "no study"
    if not really:
        files = ", ".join(map(str, databases)) or "no file (databases of a server are added to)"
        return [f"would set aside {files} and make them anew from the journals of {studies}; add --yes"]
    for handle in found:
        _facts(handle, 0)  # a journal that is damaged or missing is found before anything is set aside
    lines = []
    for database in databases:
        aside = set_aside(database)
        if aside is not None:
            lines.append(f"set aside {aside}; it counts against the budget until you delete it")
    for handle in found:
        record = handle.record()
        assert record is not None
        parameters = parse_parameters(record["config"])
        lines.append(f"{handle.name}: {restore_trials(handle, handle.optuna(parameters), parameters)} trials")
        for cursor in handle.folder.glob(f"**/{CURSOR}"):
            cursor.unlink()
    lines.append(f"{flush_all(root, settings, owned=True, say=lines.append)} rows sent to MLflow")
    return lines


def _databases(root: Path, settings: Parameters, found: list[StudyHandle]) -> list[Path]:
    """What is set aside: Optuna's database, and of MLflow's stores the project's own SQLite file. Another
    SQLite file only where it is damaged, since it may hold runs of other projects."""
    own = root / settings.tracking.root / MLFLOW_DATABASE
    stores = {mlflow_uri(settings.tracking, root)}
    for handle in found:
        record = handle.record()
        assert record is not None
        stores.add(mlflow_uri(with_store_of(settings, record).tracking, root))
    paths = [Path(uri.removeprefix(SQLITE)) for uri in sorted(stores) if uri.startswith(SQLITE)]
    mlflow = [path for path in paths if path == own.absolute() or is_unsound(path)]
    # That of a server is not ours to set aside; what it lacks is added.
    optuna = [root / settings.tracking.root / OPTUNA_DATABASE] if settings.tracking.optuna_url is None else []
    return [*optuna, *mlflow]


def restore_trials(handle: StudyHandle, study: OptunaStudy, parameters: Parameters) -> int:
    """Add the trials that the journals tell of and Optuna does not have, also where a kill ended an earlier
    restoration; how many. StudyError where a trial between two others has no journal: Optuna numbers its
    trials itself, and those after it would get another one's number."""
    missing = _facts(handle, len(study.trials()), parameters)
    for facts in missing:
        study.restore(facts)
    return len(missing)


def restore_missing(handle: StudyHandle, study: OptunaStudy, parameters: Parameters) -> None:
    """restore_trials, with a word where there were any."""
    if count := restore_trials(handle, study, parameters):
        log.warning("Optuna's database did not have all of this study: %d trials are restored", count)


def _facts(handle: StudyHandle, first: int, parameters: Parameters | None = None) -> list[TrialFacts]:
    """What the journals tell of trials `first`, first + 1, ..."""
    if parameters is None:
        record = handle.record()
        assert record is not None
        parameters = parse_parameters(record["config"])
    found: list[TrialFacts] = []
    for number, journal in journals_of(handle.folder).items():
        facts = read_facts(journal, parameters) if number >= first else None
        if facts is None:
            continue
        if number != first + len(found):
            raise StudyError(
                f"trial {first + len(found)} has no journal, and trial {number} has one",
                where=str(handle.folder / "trials"),
                remedy=f"put its {JOURNAL} back; without it trials cannot be restored to Optuna.",
            )
        found.append(facts)
    return found


def read_facts(journal: Path, parameters: Parameters) -> TrialFacts | None:
    """What a journal tells of its trial; None where it has not even a start."""
    records = [record for record, _ in read_records(journal)]
    kinds = {record["kind"]: record for record in records if "kind" in record}
    start, end = kinds.get("start"), kinds.get("end")
    if start is None:
        return None
    values = dict(_values(records, parameters))
    state = TrialState.RUNNING if end is None else STATES[end["state"]]
    value = None if end is None else end["value"]
    if state == TrialState.PRUNED:
        value = values[max(values)]  # Optuna's own convention: the last intermediate value
    return TrialFacts(
        overrides=start["overrides"],
        sampler_attrs=start["sampler"],
        state=state,
        value=value,
        reason=None if end is None else end["reason"],
        values=values,
        started=_instant(start["timestamp"]),
        ended=None if end is None else _instant(end["timestamp"]),
    )


def _values(records: list[dict[str, Any]], parameters: Parameters) -> Iterator[tuple[int, float]]:
    interval = save_interval(parameters)
    for record in records:
        is_value = record.get("key") == f"validation/{parameters.study.metric}"
        if is_value and record["value"] is not None and record["step"] % interval == 0:
            yield record["step"], record["value"]


def _instant(milliseconds: int) -> datetime:
    """Local time without a zone, as Optuna has it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().replace(tzinfo=None)
