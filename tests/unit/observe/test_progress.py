"""Time left, from what trials took."""

from __future__ import annotations

import logging

import pytest

from thriftune.observe.progress import eta_seconds
from thriftune.observe.stopwatch import Stopwatch
from thriftune.runner.progress import StudyProgress
from thriftune.study.trials import TrialEnd
from thriftune.units import human_seconds

pytestmark = pytest.mark.unit


def test_later_trials_count_for_more() -> None:
    """Equal trials: their number times what one takes. Nothing is known before the first."""
    assert eta_seconds([10.0] * 7, 3) == pytest.approx(30.0)
    assert eta_seconds([30.0, 10.0], 2) == pytest.approx(2 * (30 + 2 * 10) / 3)
    assert eta_seconds([], 5) == 0.0
    assert eta_seconds([10.0], 0) == 0.0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5939, "99 min"), (12_000, "3 h 20 min")],
)
def test_time_as_a_person_says_it(seconds: float, shown: str) -> None:
    """One unit, or hours and minutes."""
    assert human_seconds(seconds) == shown


def test_a_process_that_goes_on_knows_what_the_others_took(caplog: pytest.LogCaptureFixture) -> None:
    """Three of five trials were run before: the line after the fourth has best, bytes and time left."""
    progress = StudyProgress(5, 10**7, [60.0, 60.0, 60.0], best=0.25)
    with caplog.at_level(logging.INFO):
        progress.trial(3, 2, "starts")
        progress.epoch(1, "m", 0.5, 1_500_000)
        progress.trial_done(3, TrialEnd("complete", 0.5), 0.5, 60.0)
    assert caplog.messages[-1] == (
        "trial 3 (4 of 5): complete with 0.5000; best so far 0.5000; 1.5 MB of 10.0 MB held; about 60 s left"
    )


def test_a_trial_on_record_that_ends_here_counts_no_trial_too_many(caplog: pytest.LogCaptureFixture) -> None:
    """Only a kill kept the last one from being told: no time is left, and what is held is known."""
    progress = StudyProgress(2, 10**7, [60.0, 60.0], best=0.25, held_bytes=1_500_000)
    with caplog.at_level(logging.INFO):
        progress.trial_done(1, TrialEnd("complete", 0.5), 0.5, 60.0)
    assert caplog.messages == [
        "trial 1 (2 of 2): complete with 0.5000; best so far 0.5000; 1.5 MB of 10.0 MB held"
    ]


def test_a_stopwatch_runs_while_an_item_is_made() -> None:
    """Not while it is used; the items come through, and the watch stands still after the last."""
    watch = Stopwatch()
    seen = []
    for item in watch.over(iter([1, 2, 3])):
        before = watch.seconds
        seen.append(item)
        assert watch.seconds == before
    assert seen == [1, 2, 3]
    with watch:
        pass
    assert watch.seconds > before
