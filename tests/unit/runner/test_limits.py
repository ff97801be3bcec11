"""The rules that end a search or a trial, one by one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from thriftune.config import StudyConfig
from thriftune.runner.limits import TrainingTime, describe_stop, out_of_time, stop_reached
from thriftune.study.opening import reopened
from thriftune.study.record import Extension, Stop, StudyRecord
from thriftune.tracking.journal import Journal
from thriftune.tracking.keys import TRAIN_SECONDS, VALIDATION_SECONDS

pytestmark = pytest.mark.unit


def never() -> float:
    """Asked of a study without a timeout."""
    raise AssertionError("the journals are read for nothing")


def ends(over: int, best: int | None, extended: Extension | None = None, **limits: Any) -> Stop | None:
    """What ends a study of ten trials and a hundred seconds of training so far."""
    seconds = (lambda: 100.0) if "timeout" in limits else never
    study = StudyConfig(trials=10, **limits)
    return stop_reached(study, extended, finished=over, best_trial=best, training_seconds=seconds)


def recorded(trials: int, ended: Stop | None = None, extended: Extension | None = None) -> StudyRecord:
    """The record of a study of so many trials."""
    return StudyRecord.model_construct(trials=trials, ended=ended, extended=extended)


def test_no_gain_counts_from_the_best_on() -> None:
    """Not before there is a best; from an extension on, where that is later."""
    assert ends(5, 2) is None
    assert ends(5, None, stop_after_no_gain=2) is None
    assert ends(4, 2, stop_after_no_gain=2) is None
    ended = ends(5, 2, stop_after_no_gain=2)
    assert ended is not None
    assert (ended.rule, ended.limit, ended.trials) == ("stop_after_no_gain", 2, 5)
    extended = Extension(trials=4)
    assert ends(5, 2, extended, stop_after_no_gain=2) is None
    assert ends(6, 2, extended, stop_after_no_gain=2) is not None
    assert ends(6, 5, extended, stop_after_no_gain=2) is None


def test_time_is_up_at_the_limit() -> None:
    """Less what was used before an extension; no gain is told first, since it needs no clock."""
    assert ends(5, 2, timeout=100.5) is None
    stop, both = ends(5, 2, timeout=100), ends(5, 2, timeout=100, stop_after_no_gain=2)
    assert stop is not None
    assert (stop.rule, stop.limit, stop.trials, stop.seconds) == ("timeout", 100, 5, 100.0)
    assert ends(5, 2, Extension(seconds=1.0), timeout=100) is None
    assert both is not None
    assert both.rule == "stop_after_no_gain"


def test_an_ended_search_goes_on_for_a_higher_limit_or_more_trials(caplog: pytest.LogCaptureFixture) -> None:
    """It says which; the same limit, or a lower one, leaves it ended."""
    caplog.set_level(logging.INFO)
    stop = ends(5, 2, timeout=60)
    assert stop is not None
    record = recorded(10, stop)
    assert "after 5 of 10 trials: 100.0 s of training" in describe_stop(stop, 10)
    for same in (60, 50):
        assert reopened(record, StudyConfig(trials=10, timeout=same)) == record
    assert caplog.text == ""
    assert reopened(record, StudyConfig(trials=10, timeout=61)) == recorded(10)
    assert "study.timeout was 60 and is 61 now" in caplog.text
    assert reopened(record, StudyConfig(trials=10)) == recorded(10)
    assert "is none now" in caplog.text
    extended = recorded(12, extended=Extension(trials=5, seconds=100.0))
    assert reopened(record, StudyConfig(trials=12, timeout=60)) == extended
    assert "study.extend adds 2 trials" in caplog.text


def test_trials_are_added_to_a_search_that_had_not_ended() -> None:
    """Without a gain counts from the first added one; the time that was used still counts."""
    record = recorded(10, extended=Extension(trials=4, seconds=7.0))
    extended = recorded(11, extended=Extension(trials=10, seconds=7.0))
    assert reopened(record, StudyConfig(trials=11)) == extended


def write(path: Path, *rows: tuple[str, int, float]) -> Journal:
    """A journal of rows (key, step, value), one after the other."""
    journal = Journal(path)
    for key, step, value in rows:
        journal.log({key: value}, step)
    return journal


STEPS = ((TRAIN_SECONDS, 20, 2.0), (TRAIN_SECONDS, 40, 2.0), (VALIDATION_SECONDS, 1, 1.0))


def test_what_was_made_twice_counts_once(tmp_path: Path) -> None:
    """Rows made again stand as they were; also where they are closed at other steps since the restart."""
    journals = {0: tmp_path / "metrics.jsonl"}
    time = TrainingTime(lambda: journals)
    again = ((TRAIN_SECONDS, 20, 9.0), (TRAIN_SECONDS, 30, 9.0), (TRAIN_SECONDS, 40, 9.0))
    journal = write(journals[0], *STEPS, *again)
    assert time.seconds() == 5.0
    journal.log({TRAIN_SECONDS: 3.0}, 60)
    assert time.seconds() == 8.0
    journal.record_once("end", state="complete", value=0.5, reason=None)
    journal.close()
    assert time.seconds() == 8.0
    journals[1] = tmp_path / "second" / "metrics.jsonl"
    write(journals[1], *STEPS).close()
    assert time.seconds() == 13.0


def test_a_trial_s_time_is_up_once(tmp_path: Path) -> None:
    """At the first saved epoch at which it is; what stands beyond that epoch is not counted, and the decision
    stands whatever the limit is after a restart."""
    path = tmp_path / "metrics.jsonl"
    journal = write(path, *STEPS, (TRAIN_SECONDS, 80, 4.0))
    assert out_of_time(journal, None, 1, 40) is None
    assert out_of_time(journal, 6.0, 1, 40) is None
    reason = out_of_time(journal, 6.0, 2, 80)
    assert reason == "study.trial_timeout of 6 s was reached after epoch 2"
    journal.close()
    reopened = Journal(path)
    assert out_of_time(reopened, None, 1, 40) is None
    assert out_of_time(reopened, None, 2, 80) == reason
    reopened.close()
