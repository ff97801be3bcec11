"""What ends a search before its last trial, or a trial before its last epoch, and what lets a search go on.

Time is training time: the seconds of training and validation that stand in the trials' journals. What a
process that is down, loads or saves takes is no such time, and an epoch that was made twice, before and
after a kill, counts once, since of its rows the first ones stand. What was decided is recorded, and not
decided again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from thriftune.config import StudyConfig
from thriftune.search.optuna_study import OptunaStudy
from thriftune.tracking.journal import Journal
from thriftune.tracking.keys import TRAIN_SECONDS, VALIDATION_SECONDS
from thriftune.tracking.records import first_and_end, read_rows

log = logging.getLogger(__name__)

TIMEOUT, NO_GAIN = "timeout", "stop_after_no_gain"
"""Names of the rules, which are those of their limits below `study`."""
STOPPED = "stopped"
"""The journal's record of a trial whose time was up."""


class TrainingTime:
    """The training time of a study; a journal is read again until its trial is over."""

    def __init__(self, journals: Callable[[], Mapping[int, Path]]) -> None:
        self._journals = journals
        self._over: dict[int, float] = {}

    def seconds(self) -> float:
        """Of all trials together."""
        total = 0.0
        for number, path in self._journals().items():
            seconds = self._over.get(number)
            if seconds is None:
                seconds = _seconds_of(path)
                if first_and_end(path)[1] is not None:
                    self._over[number] = seconds
            total += seconds
        return total


def _seconds_of(path: Path) -> float:
    rows = read_rows(path)
    keys = (TRAIN_SECONDS, VALIDATION_SECONDS)
    return sum(_added_up((row.step, row.value) for row in rows if row.key == key) for key in keys)


def _added_up(rows: Iterable[tuple[int, float | None]], last: int | None = None) -> float:
    """Seconds of rows (step, value) in the order in which they were written, up to a step. A row that does
    not reach beyond those before it is of steps made twice, with another tracking.log_every_steps."""
    total, reached = 0.0, 0
    for step, value in rows:
        if reached < step and (last is None or step <= last):
            total, reached = total + (value or 0.0), step
    return total


def out_of_time(journal: Journal, limit: float | None, epoch: int, step: int) -> str | None:
    """Why a trial ends after a saved epoch, whose last optimizer step is given; None where it goes on.

    The decision is recorded with its epoch before it takes effect, and stands whatever the limit is later.
    """
    recorded = journal.record(STOPPED)
    if recorded is None:
        seconds = _added_up(journal.rows(TRAIN_SECONDS), step)
        seconds += _added_up(journal.rows(VALIDATION_SECONDS), epoch)
        if limit is None or seconds < limit:
            return None
        reason = f"study.trial_timeout of {limit:g} s was reached after epoch {epoch}"
        journal.record_once(STOPPED, epoch=epoch, reason=reason)
        journal.sync()
        return reason
    return str(recorded["reason"]) if epoch >= recorded["epoch"] else None


def ending(
    study: StudyConfig,
    record: Mapping[str, Any],
    over: int,
    best: int | None,
    seconds: Callable[[], float],
) -> dict[str, Any] | None:
    """The rule that ends the search, for study.json; None where it goes on.

    over: trials that are over. best: the trial that holds the best value, the earliest of equals, so that a
    tie is no gain. seconds: of training in all; asked only where there is a timeout. Failed and pruned trials
    count as trials without a gain; before the first value there is none to be missed.
    """
    since = record.get("extended", {"trials": 0, "seconds": 0.0})
    if study.stop_after_no_gain is not None and best is not None:
        without = over - max(best + 1, since["trials"])
        if without >= study.stop_after_no_gain:
            reason = f"no gain in {without} trials (study.stop_after_no_gain)"
            return {"rule": NO_GAIN, "limit": study.stop_after_no_gain, "trials": over, "reason": reason}
    if study.timeout is not None:
        used = seconds()
        if used - since["seconds"] >= study.timeout:
            reason = f"{used - since['seconds']:.1f} s of training (study.timeout)"
            limit = study.timeout
            return {"rule": TIMEOUT, "limit": limit, "trials": over, "seconds": used, "reason": reason}
    return None


def what_ended(record: Mapping[str, Any]) -> str:
    """How an ended search is told, with what would let it go on."""
    ended = record["ended"]
    return (
        f"the search is over after {ended['trials']} of {record['trials']} trials: {ended['reason']}; "
        f"with study.{ended['rule']} raised, or study.trials raised and study.extend=true, the same command "
        "goes on"
    )


def is_over(record: dict[str, Any], optuna_study: OptunaStudy) -> bool:
    """All trials are over, or a rule of the study ended the search and those that were begun are."""
    trials = optuna_study.trials()
    over = sum(trial.state.is_finished() for trial in trials)
    return over >= record["trials"] or ("ended" in record and over == len(trials))
