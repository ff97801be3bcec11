"""What MLflow's run of a study shows of its progress: functions of the trials' journals alone (SPEC 8.1).

Made anew from the journals they come out the same, whatever was interrupted: step = trial number, timestamp =
the trial's end. What depends on the machine's speed is under `system/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftune.observe.progress import eta_seconds
from thriftune.search.overhead import trial_seconds
from thriftune.tracking.journal import MACHINE_PREFIX, MetricRow, first_and_end

VALUE, BEST, OVER = "study/value", "study/best", "study/trials_over"
ETA = f"{MACHINE_PREFIX}eta_seconds"
PARENT_KEYS = (VALUE, BEST, OVER, ETA)
PROGRESS_TAG = "thriftune.progress"


@dataclass(frozen=True)
class Milestone:
    """The study at the end of one of its trials."""

    number: int
    """Of the trial."""
    trials: int
    """In all."""
    timestamp: int
    """Of the trial's end, in milliseconds since 1970."""
    value: float | None
    best: float | None
    best_trial: int | None
    over: int
    eta_seconds: float
    """Of the trials that are left (see observe.progress)."""

    @property
    def rows(self) -> list[MetricRow]:
        """As metrics of the study's run."""
        found = {VALUE: self.value, BEST: self.best, OVER: float(self.over), ETA: self.eta_seconds}
        return [
            MetricRow(key, self.number, self.timestamp, value)
            for key, value in found.items()
            if value is not None
        ]

    def __str__(self) -> str:
        best = "none has a value"
        if self.best is not None:
            best = f"best {self.best:.4f} of trial {self.best_trial}"
        return f"{self.over} of {self.trials} trials, {best}"


def milestone(journals: Mapping[int, Path], number: int, trials: int) -> Milestone | None:
    """At the end of a trial, from the journals by trial number; None where that trial is not over."""
    over: list[tuple[int, dict[str, Any], float]] = []
    for each in sorted(journals.keys() & set(range(number + 1))):
        first, end = first_and_end(journals[each])
        if first is not None and end is not None:
            over.append((each, end, trial_seconds(journals[each]) or 0.0))
    if not over or over[-1][0] != number:
        return None
    last = over[-1][1]
    complete = [(end["value"], -n) for n, end, _ in over if end["state"] == "complete"]
    best, best_number = max(complete, default=(None, None))
    return Milestone(
        number=number,
        trials=trials,
        timestamp=last["timestamp"],
        value=last["value"],
        best=best,
        best_trial=None if best_number is None else -best_number,
        over=len(over),
        eta_seconds=eta_seconds([took for _, _, took in over], trials - len(over)),
    )
