"""The limits on what the framework itself may spend on a trial (ADR 9), over a study of many trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from thriftune.reports.trial_costs import TrialCosts

WINDOW = 10
"""Trials whose median counts: one that met a stalled disk is no growth."""
FEWEST = 3 * WINDOW
"""Trials under which nothing can be said of growth."""
OWN_LIMIT_SECONDS, GROWTH_LIMIT, MEMORY_LIMIT = 0.5, 2.0, 1.1


@dataclass(frozen=True)
class Check:
    """One limit, and whether it was kept."""

    name: str
    limit: float
    value: float | None
    """None where there are too few trials to tell."""

    @property
    def ok(self) -> bool | None:
        """Whether the limit was kept; None where there are too few trials to tell."""
        return None if self.value is None else self.value <= self.limit


def checks(costs: TrialCosts) -> list[Check]:
    """Hold the costs of trials against each limit."""
    own = costs.own_seconds
    windows = [median(own[at : at + WINDOW]) for at in range(max(1, len(own) - WINDOW + 1))] if own else []
    held = max(costs.held_bytes, default=None)
    used = None if held is None else held / costs.budget_bytes
    memory, opened, threads = costs.memory_bytes, costs.open_files, costs.threads
    return [
        Check("own seconds, the highest median of ten trials", OWN_LIMIT_SECONDS, max(windows, default=None)),
        Check("own seconds, the last ten trials against trials 5 to 14", GROWTH_LIMIT, _growth(own, 5)),
        Check("memory, the last ten trials against trials 10 to 19", MEMORY_LIMIT, _growth(memory)),
        Check("bytes on disk against the budget", 1.0, used),
        Check("open files, the last ten trials against trials 10 to 19", 1.0, _growth(opened)),
        Check("threads, the last ten trials against trials 10 to 19", 1.0, _growth(threads)),
    ]


def _growth(values: Sequence[float], first: int = WINDOW) -> float | None:
    """Return the median of the last ten values over that of the ten values from `first` on."""
    if len(values) < FEWEST:
        return None
    return median(values[-WINDOW:]) / median(values[first : first + WINDOW])
