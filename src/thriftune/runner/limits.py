"""What ends a search before its last trial, or a trial before its last epoch, and what continues it.

Time is training time: the seconds of training and validation that stand in the trials' journals. What a
process that is down, loads or saves takes does not count, and an epoch that was trained twice, before and
after a kill, counts once, since of its rows the first ones stand. What was decided is recorded, and not
decided again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from thriftune.config import StudyConfig
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.record import Extension, Stop, StudyRecord
from thriftune.tracking.journal import Journal
from thriftune.tracking.keys import TRAIN_SECONDS, VALIDATION_SECONDS
from thriftune.tracking.records import read_metrics, start_and_end

log = logging.getLogger(__name__)

STOPPED = "stopped"
"""The journal's record of a trial whose time was up."""


class TrainingTime:
    """The training time of a study; a journal is read again until its trial is over."""

    def __init__(self, journals: Callable[[], Mapping[int, Path]]) -> None:
        self._journals = journals
        self._over: dict[int, float] = {}

    def seconds(self) -> float:
        """Return the seconds of all trials together."""
        total = 0.0
        for number, path in self._journals().items():
            seconds = self._over.get(number)
            if seconds is None:
                seconds = _seconds_of(path)
                if start_and_end(path)[1] is not None:
                    self._over[number] = seconds
            total += seconds
        return total


def _seconds_of(path: Path) -> float:
    rows = read_metrics(path)
    keys = (TRAIN_SECONDS, VALIDATION_SECONDS)
    return sum(_added_up((row.step, row.value) for row in rows if row.key == key) for key in keys)


def _added_up(rows: Iterable[tuple[int, float | None]], last: int | None = None) -> float:
    """Return the seconds of rows (step, value) in the order in which they were written, up to a step.

    A row that does not reach beyond those before it is of steps made twice, with another
    tracking.log_every_steps.
    """
    total, reached = 0.0, 0
    for step, value in rows:
        if reached < step and (last is None or step <= last):
            total, reached = total + (value or 0.0), step
    return total


def out_of_time(journal: Journal, limit: float | None, epoch: int, step: int) -> str | None:
    """Return why a trial ends after a saved epoch, or None to continue.

    The decision is recorded with its epoch before it takes effect, and holds whatever the limit is later.

    Args:
        journal: The trial's journal.
        limit: Seconds of training; None: there is no limit.
        epoch: The epoch that was saved.
        step: Its last optimizer step.
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
    stopped_after = recorded["epoch"]
    assert isinstance(stopped_after, int)
    return str(recorded["reason"]) if epoch >= stopped_after else None


def stop_reached(
    limits: StudyConfig,
    extended: Extension | None,
    *,
    finished: int,
    best_trial: int | None,
    training_seconds: Callable[[], float],
) -> Stop | None:
    """Return the stopping rule that has been reached, or None to continue.

    Failed and pruned trials count as trials without a gain; before the first value there is no gain to miss.

    Args:
        limits: The limits of this run.
        extended: What the rules leave out since trials were added; None: nothing.
        finished: Number of trials that have ended, whatever their state.
        best_trial: Number of the trial with the best value, the earliest on a tie, so a tie is not a gain;
            None before there is one.
        training_seconds: Called only if `study.timeout` is set.
    """
    since = extended or Extension()
    if limits.stop_after_no_gain is not None and best_trial is not None:
        without = finished - max(best_trial + 1, since.trials)
        if without >= limits.stop_after_no_gain:
            return Stop(
                rule="stop_after_no_gain",
                limit=limits.stop_after_no_gain,
                trials=finished,
                reason=f"no gain in {without} trials (study.stop_after_no_gain)",
            )
    if limits.timeout is not None:
        used = training_seconds()
        if used - since.seconds >= limits.timeout:
            return Stop(
                rule="timeout",
                limit=limits.timeout,
                trials=finished,
                seconds=used,
                reason=f"{used - since.seconds:.1f} s of training (study.timeout)",
            )
    return None


def describe_stop(stop: Stop, trials: int) -> str:
    """Return what ended the search, and what lets it continue, for the log.

    Args:
        stop: The rule that was reached.
        trials: Trials of the study in all.
    """
    return (
        f"the search is over after {stop.trials} of {trials} trials: {stop.reason}; with study.{stop.rule} "
        "raised, or study.trials raised and study.extend=true, the same command continues it"
    )


def is_over(record: StudyRecord, optuna_study: OptunaStudy) -> bool:
    """Return whether all trials have ended, or a rule ended the search and those that had begun have ended.

    Args:
        record: The study's record.
        optuna_study: The study's trials, which are read now.
    """
    trials = optuna_study.trials()
    finished = sum(trial.state.is_finished() for trial in trials)
    return finished >= record.trials or (record.ended is not None and finished == len(trials))
