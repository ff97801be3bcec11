"""Searches that end before their last trial: by time, and for lack of a gain."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import small_parameters, write_small_tables
from tests.support.studies import facts, in_child, parts, run

from thriftune import files
from thriftune.config import Parameters
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.record import Stop
from thriftune.tracking.keys import TRAIN_SECONDS, VALIDATION_SECONDS
from thriftune.tracking.records import read_metrics

pytestmark = pytest.mark.integration
DOWN_SECONDS = 3
NO_TIME = 1e-6
"""Seconds that the first row uses up."""


def killed_at(at: int, is_meant: Callable[[files.Event], bool]) -> files.Observer:
    """Kills the process before the n-th operation that is meant."""
    seen = 0

    def observe(event: files.Event) -> None:
        nonlocal seen
        seen += is_meant(event)
        if seen == at and is_meant(event):
            os.kill(os.getpid(), signal.SIGKILL)

    return observe


def is_row(event: files.Event) -> bool:
    """A line of a journal."""
    return event.operation == "append" and event.path.name == "metrics.jsonl"


def stop_of(parameters: Parameters) -> Stop:
    """What ended the search, by study.json."""
    record = parts(parameters)[1].record()
    assert record is not None
    assert record.ended is not None
    return record.ended


def timed(root: Path, **study: Any) -> Parameters:
    """A study of three trials of three epochs, a row a step."""
    return small_parameters(
        root,
        training={**small_parameters(root).training.model_dump(), "epochs": 3},
        study={"name": "timed", "trials": 3, **study},
        search={"space": {}},
        tracking={"root": str(root / "tracking"), "log_every_steps": 1},
    )


def test_time_is_training_time_and_what_ended_the_search_stands(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed in the second epoch of the first trial, resumed after a while: the trial goes on to its end, and
    no other begins. The rows made before the kill stand, the time in which nothing ran is in none. The same
    command leaves it; a higher limit, then more trials, let it go on and say so."""
    caplog.set_level(logging.INFO)
    parameters = timed(small, timeout=NO_TIME)
    steps = 8
    # The start record, a row a step, two rows at the first epoch's end, three steps of the second.
    assert in_child(parameters, killed_at(1 + steps + 2 + 4, is_row)) == -signal.SIGKILL
    (journal,) = parts(parameters)[1].folder.glob("trials/*/metrics.jsonl")
    before = [row for row in read_metrics(journal) if row.key == TRAIN_SECONDS]
    assert [row.step for row in before] == list(range(1, steps + 4))
    time.sleep(DOWN_SECONDS)
    assert in_child(parameters, None) == 0
    rows = [row for row in read_metrics(journal) if row.key in (TRAIN_SECONDS, VALIDATION_SECONDS)]
    trained = [row for row in rows if row.key == TRAIN_SECONDS]
    assert trained[: len(before)] == before
    assert [row.step for row in trained] == list(range(1, 3 * steps + 1))
    first = trained[len(before)]
    assert first.value is not None
    assert first.value < (first.timestamp - before[-1].timestamp) / 1000 - DOWN_SECONDS
    ended = stop_of(parameters)
    assert (ended.rule, ended.limit, ended.trials) == ("timeout", NO_TIME, 1)
    assert ended.seconds == pytest.approx(sum(row.value or 0.0 for row in rows))
    run(parameters)
    assert stop_of(parameters) == ended
    assert "the search is over after 1 of 3 trials: " in caplog.text
    higher = timed(small, timeout=ended.seconds + NO_TIME)
    run(higher)
    assert f"it continues: study.timeout was {NO_TIME:g} and is " in caplog.text
    assert stop_of(higher).trials == 2
    more = timed(small, timeout=higher.study.timeout, trials=5, extend=True)
    run(more)
    assert "study.extend adds 2 trials, and the limit counts from here" in caplog.text
    states = [trial.state.name for trial in OptunaStudy.open(parts(more)[1], more).trials()]
    assert len(states) > 2
    assert set(states) == {"COMPLETE"}


def test_a_trial_ends_when_its_time_is_up_and_the_decision_stands(small: Path) -> None:
    """With its first saved epoch, complete; killed before its end was recorded, it ends there also where the
    limit is gone by then, and the next trial has all its epochs."""
    limited = timed(small, trial_timeout=NO_TIME, trials=2)
    assert in_child(limited, killed_at(1, lambda event: is_row(event) and b'"end"' in event.data)) < 0
    parameters = timed(small, trials=2)
    assert in_child(parameters, None) == 0
    first, second = OptunaStudy.open(parts(parameters)[1], parameters).trials()
    assert (first.state.name, second.state.name) == ("COMPLETE", "COMPLETE")
    assert (list(first.intermediate_values), list(second.intermediate_values)) == ([1], [1, 2, 3])
    assert first.value == first.intermediate_values[1]
    assert first.user_attrs["reason"] == f"study.trial_timeout of {NO_TIME:g} s was reached after epoch 1"


def flat_study(root: Path, **study: Any) -> Parameters:
    """Nothing is learnt, so that every trial ties with the first; the second one fails."""
    return small_parameters(
        root,
        training={**small_parameters(root).training.model_dump(), "learning_rate": 1e-30, "epochs": 1},
        study={"name": "flat", "trials": 6, "stop_after_no_gain": 2, **study},
        search={"space": {}, "baselines": [{}, {"training.max_length": 128}, {"training.batch_size": 16}]},
    )


@pytest.fixture(scope="module")
def no_gain(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Stop]:
    """(facts, what ended it) of that study, when nothing interrupts it."""
    root = tmp_path_factory.mktemp("whole")
    write_small_tables(root)
    parameters = flat_study(root)
    run(parameters)
    ended = stop_of(parameters)
    assert (ended.rule, ended.trials) == ("stop_after_no_gain", 3)
    return facts(parameters), ended


@pytest.mark.parametrize(
    ("name", "operation", "at"),
    [
        ("study.json.tmp", "create", 2),
        pytest.param("flat-", "optuna_tell", 3, marks=pytest.mark.slow),
        pytest.param("metrics.jsonl", "append", 9, marks=pytest.mark.slow),
    ],
    ids=["before it is recorded", "before the last trial is told", "in the first trial"],
)
def test_without_a_gain_it_ends_at_the_same_trial_after_a_kill(
    small: Path, no_gain: tuple[dict[str, Any], Stop], name: str, operation: str, at: int
) -> None:
    """A failed trial and a tie are none; the decision depends on the history alone."""
    parameters = flat_study(small)
    observer = killed_at(at, lambda e: e.operation == operation and e.path.name.startswith(name))
    assert in_child(parameters, observer) == -signal.SIGKILL
    assert in_child(parameters, None) == 0
    assert (facts(parameters), stop_of(parameters)) == no_gain


def test_more_trials_or_more_patience_let_it_go_on(small: Path) -> None:
    """An extension counts from its first trial; a lower patience does not undo what was run."""
    for study, over in (
        ({}, 3),
        ({"stop_after_no_gain": 1}, 3),
        ({"trials": 9, "extend": True}, 5),
        ({"trials": 9, "stop_after_no_gain": 3}, 6),
    ):
        parameters = flat_study(small, **study)
        run(parameters)
        assert stop_of(parameters).trials == over
        assert len(OptunaStudy.open(parts(parameters)[1], parameters).trials()) == over
