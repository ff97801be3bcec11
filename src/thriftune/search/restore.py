"""What the journals tell of trials that Optuna's storage does not have."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from thriftune.config import Parameters
from thriftune.errors import StudyError
from thriftune.search.optuna_study import OptunaStudy, TrialFacts
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import save_interval
from thriftune.study.layout import JOURNAL, journals_of
from thriftune.tracking.records import read_records

log = logging.getLogger(__name__)

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def restore_trials(handle: StudyHandle, study: OptunaStudy, parameters: Parameters) -> int:
    """Add the trials that the journals tell of and Optuna does not have, also where a kill ended an earlier
    restoration; how many. StudyError where a trial between two others has no journal: Optuna numbers its
    trials itself, and those after it would get another one's number."""
    missing = journaled_trials(handle, len(study.trials()), parameters)
    for facts in missing:
        study.restore(facts)
    return len(missing)


def restore_missing(handle: StudyHandle, study: OptunaStudy, parameters: Parameters) -> None:
    """restore_trials, with a word where there were any."""
    if count := restore_trials(handle, study, parameters):
        log.warning("Optuna's database did not have all of this study: %d trials are restored", count)


def journaled_trials(
    handle: StudyHandle, first: int, parameters: Parameters | None = None
) -> list[TrialFacts]:
    """What the journals tell of trials `first`, first + 1, ..."""
    if parameters is None:
        record = handle.record()
        assert record is not None
        parameters = record.parameters()
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
