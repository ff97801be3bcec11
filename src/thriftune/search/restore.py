"""Trials that Optuna's storage does not have, restored from their journals."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from thriftune.config import Parameters
from thriftune.errors import StudyError
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.trials import JournaledTrial
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import save_interval
from thriftune.study.layout import JOURNAL, journals_of
from thriftune.tracking.records import EndRecord, MetricRow, StartRecord, metric_row, read_records

log = logging.getLogger(__name__)


def restore_trials(handle: StudyHandle, study: OptunaStudy, parameters: Parameters) -> int:
    """Add the trials that have a journal and that Optuna does not have.

    A restoration that was killed is completed. StudyError is raised where `journaled_trials` raises it.

    Args:
        handle: The study, whose folder has the journals.
        study: The study in Optuna's storage.
        parameters: Those of the study.

    Returns:
        How many were added.
    """
    missing = journaled_trials(handle, len(study.trials()), parameters)
    for trial in missing:
        study.restore(trial)
    return len(missing)


def restore_missing(handle: StudyHandle, study: OptunaStudy, parameters: Parameters) -> None:
    """Call `restore_trials`, and log a warning where there were any to restore.

    Args:
        handle: The study, whose folder has the journals.
        study: The study in Optuna's storage.
        parameters: Those of the study.
    """
    if count := restore_trials(handle, study, parameters):
        log.warning("Optuna's database lacked %d trials of this study; they were restored", count)


def journaled_trials(
    handle: StudyHandle, first: int, parameters: Parameters | None = None
) -> list[JournaledTrial]:
    """Return trials `first`, `first` + 1 and so on as their journals have them.

    Args:
        handle: The study, whose folder has the journals.
        first: Number of the first trial to return.
        parameters: Those of the study. None: as recorded in study.json.

    Raises:
        StudyError: A trial between two others has no journal: Optuna numbers its trials itself, so those
            after it would get another trial's number.
    """
    if parameters is None:
        record = handle.record()
        assert record is not None
        parameters = record.parameters()
    found: list[JournaledTrial] = []
    for number, journal in journals_of(handle.folder).items():
        trial = _read_trial(journal, parameters) if number >= first else None
        if trial is None:
            continue
        if number != first + len(found):
            raise StudyError(
                f"trial {first + len(found)} has no journal, and trial {number} has one",
                where=str(handle.folder / "trials"),
                remedy=f"put its {JOURNAL} back; without it trials cannot be restored to Optuna.",
            )
        found.append(trial)
    return found


def _read_trial(journal: Path, parameters: Parameters) -> JournaledTrial | None:
    """Return the trial as its journal has it; None where the journal has no start."""
    records = [record for record, _ in read_records(journal)]
    kinds = {record["kind"]: record for record in records if "kind" in record}
    if "start" not in kinds:
        return None
    start = StartRecord.from_record(kinds["start"])
    end = EndRecord.from_record(kinds["end"]) if "end" in kinds else None
    rows = [row for record in records if (row := metric_row(record)) is not None]
    return JournaledTrial(
        overrides=start.overrides,
        sampler_attrs=start.sampler_attrs,
        end=end,
        values=dict(_values(rows, parameters)),
        started=_instant(start.timestamp),
        ended=None if end is None else _instant(end.timestamp),
    )


def _values(rows: list[MetricRow], parameters: Parameters) -> Iterator[tuple[int, float]]:
    interval = save_interval(parameters)
    for row in rows:
        is_value = row.key == f"validation/{parameters.study.metric}"
        if is_value and row.value is not None and row.step % interval == 0:
            yield row.step, row.value


def _instant(milliseconds: int) -> datetime:
    """Return local time without a zone, as Optuna stores it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().replace(tzinfo=None)
