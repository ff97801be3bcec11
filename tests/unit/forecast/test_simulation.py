"""The forecast: the pure plan over a simulated study."""

from __future__ import annotations

from dataclasses import replace

import pytest

from thriftune.checkpoints.budget import with_reserve
from thriftune.checkpoints.retention import RetentionPolicy
from thriftune.forecast.simulation import Workload, forecast

pytestmark = pytest.mark.unit
GB = 10**9
TEN = Workload(trials=1000, saves_per_trial=10, model_bytes=10 * GB, resumable_bytes=30 * GB)


def test_a_thousand_trials_of_ten_gigabytes() -> None:
    """The newest and the one being written, whole; the trial's best and the study's best, stripped."""
    found = forecast(TEN, RetentionPolicy(), 100 * GB)
    assert found.most_bytes == (30 + 30 + 10 + 10) * GB
    assert found.written_bytes == found.keep_all_bytes == 10_000 * 30 * GB
    assert found.fits
    assert 70 * GB < found.least_budget_bytes < 71 * GB
    assert found.hours * 3600 == found.writing_seconds == 300_000


def test_hours_are_those_of_training_and_of_writing() -> None:
    """One after the other: a slower disk and a longer epoch both add."""
    slow = replace(TEN, trials=2, seconds_per_save=1800, written_bytes_per_second=GB / 2)
    found = forecast(slow, RetentionPolicy(), 100 * GB)
    assert (found.training_seconds, found.writing_seconds) == (20 * 1800, 20 * 60)
    assert found.hours == pytest.approx(10 + 1 / 3)


def test_under_a_tight_budget_the_unprotected_go_first() -> None:
    """70 GB and the reserve hold it (the running trial's own best goes); 70 GB do not."""
    tight = forecast(TEN, RetentionPolicy(), with_reserve(70 * GB))
    assert (tight.most_bytes, tight.fits) == (70 * GB, True)
    assert not forecast(TEN, RetentionPolicy(), 70 * GB).fits


def test_the_most_is_constant_in_the_number_of_trials() -> None:
    """Ten trials or a thousand: only what is not a checkpoint grows."""
    few = forecast(replace(TEN, trials=10), RetentionPolicy(keep_best=3, keep_last=2), 10**13)
    many = forecast(TEN, RetentionPolicy(keep_best=3, keep_last=2), 10**13)
    assert few.most_bytes == many.most_bytes
    grown = forecast(
        replace(TEN, other_bytes_per_trial=1000), RetentionPolicy(keep_best=3, keep_last=2), 10**13
    )
    assert grown.most_bytes == many.most_bytes + 1000 * 1000
    assert grown.least_budget_bytes == many.least_budget_bytes + 1000 * 1000


def test_what_stands_beside_trials_takes_from_the_budget() -> None:
    """Corpora and databases: the most and the least grow by them; the metrics of a trial grow with it."""
    beside = replace(TEN, trials=2, other_bytes=5 * GB, other_bytes_per_trial=1000)
    assert [beside.beside(trials) for trials in (0, 0.5, 2)] == [5 * GB, 5 * GB + 500, 5 * GB + 2000]
    found, bare = (forecast(work, RetentionPolicy(), 100 * GB) for work in (beside, replace(TEN, trials=2)))
    assert found.least_budget_bytes == bare.least_budget_bytes + 5 * GB + 2000
    assert found.keep_all_bytes == bare.keep_all_bytes + 5 * GB + 2000


def test_one_save_is_one_checkpoint() -> None:
    """A study of one trial and one epoch."""
    found = forecast(replace(TEN, trials=1, saves_per_trial=1), RetentionPolicy(), 100 * GB)
    assert (found.most_bytes, found.most_at) == (30 * GB, (0, 0))
