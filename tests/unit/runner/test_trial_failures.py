"""Reasons of failures, and what failed trials have in common."""

from __future__ import annotations

import json
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from thriftune.config import parse_parameters
from thriftune.errors import ConfigError, OutOfStorageError, StudyError, UnavailableError
from thriftune.runner.failures import LONGEST_REASON, check_failures, failure_reason
from thriftune.study.identity import flat
from thriftune.training.loop import DivergedError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DivergedError("the loss is nan", where="trial 3", remedy="x"), "diverged: the loss is nan"),
        (ConfigError("too\n  long", where="training.max_length"), "training.max_length: too long"),
        (ConfigError("no"), "configuration: no"),
        (MemoryError(), "out of memory: MemoryError"),
        (RuntimeError("can't allocate memory: 9 B\nmore"), "out of memory: can't allocate memory: 9 B"),
        (OutOfStorageError("full"), None),
        (UnavailableError("no hub"), None),
        (StudyError("another model"), None),
        (RuntimeError("a fault"), None),
    ],
)
def test_only_a_trials_own_failures_have_a_reason(error: Exception, reason: str | None) -> None:
    """One line that begins with the cause; what is the user's, the machine's or ours has none."""
    assert failure_reason(error, ()) == reason


def test_a_reason_is_short_and_has_no_secret() -> None:
    """It goes into databases and tags."""
    error = ConfigError(f"https://me:s3cretpass@host and mine-7 {'x' * 1000}", where="encoder")
    reason = failure_reason(error, ["mine-[0-9]"])
    assert reason is not None
    assert len(reason) == LONGEST_REASON
    assert "s3cretpass" not in reason
    assert "mine-7" not in reason


def history(*trials: tuple[str, dict[str, Any]]) -> list[FrozenTrial]:
    """Trials (reason or "", overrides), in order."""
    found = []
    for number, (reason, overrides) in enumerate(trials):
        trial = create_trial(
            state=TrialState.FAIL if reason else TrialState.COMPLETE,
            value=None if reason else 0.5,
            user_attrs={"overrides": json.dumps(overrides), "reason": reason},
        )
        trial.number = number
        found.append(trial)
    return found


RATE, ENCODER, LENGTH = "training.learning_rate", "encoder", "training.max_length"


def told(over: list[FrozenTrial], limit: int = 2, trials: int = 10) -> str:
    """What ends the study; nothing where it goes on."""
    try:
        parameters = parse_parameters({"study": {"max_failed_trials": limit}})
        check_failures(over, trials, parameters.study, flat(parameters.model_dump(mode="json")))
    except StudyError as error:
        return error.message
    return ""


def test_it_says_what_the_failed_had_and_the_good_had_not() -> None:
    """A value, or the side of a number on which they lie; what a good trial had too is not named."""
    message = told(
        history(
            ("", {RATE: 1e-4, ENCODER: "tiny", LENGTH: 128}),
            ("diverged: a", {RATE: 9.0, ENCODER: "tiny", LENGTH: 64}),
            ("", {RATE: 1e-3, ENCODER: "small", LENGTH: 256}),
            ("out of memory: b", {RATE: 1e-2, ENCODER: "wide", LENGTH: 512}),
            ("out of memory: c", {RATE: 1e-2, ENCODER: "wide", LENGTH: 1024}),
            ("diverged: d", {RATE: 2e-2, ENCODER: "wide", LENGTH: 512}),
        )
    )
    assert message == (
        "3 trials in a row have failed: out of memory (2 of 3; trial 3: b); diverged (1 of 3; trial 5: d)\n"
        "  all had encoder = 'wide', training.learning_rate >= 0.01 (the others at most 0.001), "
        "training.max_length >= 512 (the others at most 256); no successful trial had any of these"
    )


def test_a_key_that_a_trial_does_not_set_is_as_written() -> None:
    """Conditions leave keys out: the trial had the configuration's own value."""
    written = parse_parameters({}).training.learning_rate
    message = told(history(("", {RATE: 1e-9}), ("diverged: a", {}), ("diverged: b", {RATE: written})))
    assert f"all had training.learning_rate = {written!r}" in message


def test_without_a_good_trial_the_shared_values_are_told_as_such() -> None:
    """There is nothing to compare with; and nothing shared is not mentioned."""
    first, second = (
        ("diverged: a", {RATE: 1.0, ENCODER: "tiny"}),
        ("diverged: b", {RATE: 2.0, ENCODER: "tiny"}),
    )
    said = told(history(first, second))
    assert "all had encoder = 'tiny'; there is no successful trial to compare with" in said
    assert "all had" not in told(history(first, ("diverged: b", {RATE: 2.0, ENCODER: "wide"})))


def test_when_the_study_goes_on() -> None:
    """Below the limit, after a good trial, and where all trials are over and one went well."""
    good, bad = ("", {}), ("diverged: a", {})
    assert told(history(good, bad)) == ""
    assert told(history(bad, bad, good)) == ""
    assert told(history(good, bad, bad), trials=3) == ""
    assert told(history(good, bad, bad), trials=4) != ""
    assert told(history(bad, bad), trials=2) != ""
