"""The limits on what a trial costs, over the figures of many trials."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.limits import checks

from thriftune.reports.trial_costs import TrialCosts

pytestmark = pytest.mark.unit
PLAIN = {
    "own_seconds": 0.1,
    "trial_seconds": 60.0,
    "memory_bytes": 5e8,
    "held_bytes": 1e6,
    "open_files": 20.0,
    "threads": 8.0,
}


def costs(count: int, budget_bytes: int, **changes: float) -> TrialCosts:
    """Trials that cost the same; changes: figures of the last ten."""
    early, late = max(0, count - 10), min(10, count)
    series: dict[str, Any] = {
        name: (value,) * early + (changes.get(name, value),) * late for name, value in PLAIN.items()
    }
    return TrialCosts(trials=tuple(range(count)), budget_bytes=budget_bytes, **series)


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, [True] * 6),
        ({"own_seconds": 0.19}, [True] * 6),
        ({"own_seconds": 0.21}, [True, False, True, True, True, True]),
        ({"own_seconds": 0.51}, [False, False, True, True, True, True]),
        ({"memory_bytes": 5.6e8}, [True, True, False, True, True, True]),
        ({"held_bytes": 2.1e6}, [True, True, True, False, True, True]),
        ({"open_files": 21.0}, [True, True, True, True, False, True]),
        ({"threads": 9.0}, [True, True, True, True, True, False]),
    ],
)
def test_each_limit_is_judged_by_its_own_figure(changes: dict[str, float], kept: list[bool]) -> None:
    """The last ten trials of a thousand against those about the tenth."""
    assert [check.ok for check in checks(costs(1000, 2 * 10**6, **changes))] == kept


def test_few_trials_say_nothing_of_growth() -> None:
    """Growth is not judged below thirty trials; one slow trial is no growth."""
    assert [check.ok for check in checks(costs(29, 10**7))] == [True, None, None, True, None, None]
    assert [check.ok for check in checks(costs(0, 10**7))] == [None] * 6
    plain = costs(100, 10**7)
    own = (*plain.own_seconds[:50], 9.0, *plain.own_seconds[51:])
    spiked: dict[str, Any] = {**vars(plain), "own_seconds": own}
    assert all(check.ok for check in checks(TrialCosts(**spiked)))
