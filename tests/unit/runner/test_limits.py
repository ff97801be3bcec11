"""The rules that end a search or a trial, one by one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from thriftune.config import StudyConfig
from thriftune.runner.limits import TrainingTime, ending, out_of_time, what_ended
from thriftune.study.record import reopened
from thriftune.tracking.journal import Journal
from thriftune.tracking.keys import TRAIN_SECONDS, VALIDATION_SECONDS

pytestmark = pytest.mark.unit


def never() -> float:
    """Asked of a study without a timeout."""
    raise AssertionError("the journals are read for nothing")


def ends(over: int, best: int | None, record: dict[str, Any] | None = None, **limits: Any) -> Any:
    """What ends a study of ten trials and a hundred seconds of training so far."""
    seconds = (lambda: 100.0) if "timeout" in limits else never
    return ending(StudyConfig(trials=10, **limits), record or {}, over, best, seconds)


def test_no_gain_counts_from_the_best_on() -> None:
    """Not before there is a best; from an extension on, where that is later."""
    assert ends(5, 2) is None
    assert ends(5, None, stop_after_no_gain=2) is None
    assert ends(4, 2, stop_after_no_gain=2) is None
    ended = ends(5, 2, stop_after_no_gain=2)
    assert (ended["rule"], ended["limit"], ended["trials"]) == ("stop_after_no_gain", 2, 5)
    extended = {"extended": {"trials": 4, "seconds": 0.0}}
    assert ends(5, 2, extended, stop_after_no_gain=2) is None
    assert ends(6, 2, extended, stop_after_no_gain=2) is not None
    assert ends(6, 5, extended, stop_after_no_gain=2) is None


def test_time_is_up_at_the_limit() -> None:
    """Less what was used before an extension; no gain is told first, since it needs no clock."""
    assert ends(5, 2, timeout=100.5) is None
    assert ends(5, 2, timeout=100)["seconds"] == 100.0
    assert ends(5, 2, {"extended": {"trials": 0, "seconds": 1.0}}, timeout=100) is None
    both = ends(5, 2, timeout=100, stop_after_no_gain=2)
    assert both["rule"] == "stop_after_no_gain"


def test_an_ended_search_goes_on_for_a_higher_limit_or_more_trials(caplog: pytest.LogCaptureFixture) -> None:
    """It says which; the same limit, or a lower one, leaves it ended."""
    caplog.set_level(logging.INFO)
    record: dict[str, Any] = {"trials": 10, "ended": ends(5, 2, timeout=60)}
    assert "after 5 of 10 trials: 100.0 s of training" in what_ended(record)
    for same in (60, 50):
        assert reopened(record, StudyConfig(trials=10, timeout=same)) == record
    assert caplog.text == ""
    assert reopened(record, StudyConfig(trials=10, timeout=61)) == {"trials": 10}
    assert "study.timeout was 60 and is 61 now" in caplog.text
    assert reopened(record, StudyConfig(trials=10)) == {"trials": 10}
    assert "is none now" in caplog.text
    extended = {"trials": 12, "extended": {"trials": 5, "seconds": 100.0}}
    assert reopened(record, StudyConfig(trials=12, timeout=60)) == extended
    assert "study.extend adds 2 trials" in caplog.text


def test_trials_are_added_to_a_search_that_had_not_ended() -> None:
    """Without a gain counts from the first added one; the time that was used still counts."""
    record: dict[str, Any] = {"trials": 10, "extended": {"trials": 4, "seconds": 7.0}}
    extended = {"trials": 11, "extended": {"trials": 10, "seconds": 7.0}}
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
