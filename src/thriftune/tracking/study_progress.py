"""What MLflow's run of a study shows of its progress: functions of the trials' journals alone.

Made anew from the journals they come out the same, whatever was interrupted: step = trial number, timestamp =
the trial's end. What depends on the machine's speed is under `system/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftune.observe.progress import eta_seconds
from thriftune.tracking.keys import MACHINE_PREFIX
from thriftune.tracking.records import MetricRow, first_and_end, trial_seconds

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


class Milestones:
    """Those of one study. The journal of a trial that is over is read once."""

    def __init__(self) -> None:
        self._over: dict[int, tuple[dict[str, Any], float]] = {}
        """Of each trial that is over: the record of its end, and the seconds that it took."""

    def at(self, journals: Mapping[int, Path], number: int, trials: int) -> Milestone | None:
        """At the end of a trial, from the journals by trial number; None where that trial is not over."""
        self._read(journals)
        if number not in self._over:
            return None
        until = self._ended(number)
        over = {n: found for n, found in self._over.items() if self._ended(n) <= until}
        return _milestone(over, number, trials)

    def last(self, journals: Mapping[int, Path], trials: int) -> Milestone | None:
        """At the end of the last trial that is over; None where none is."""
        self._read(journals)
        return self.at(journals, max(self._over, key=self._ended), trials) if self._over else None

    def _ended(self, number: int) -> tuple[int, int]:
        """Orders trials by their ends: several workers end them in another order than that of numbers."""
        return self._over[number][0]["timestamp"], number

    def _read(self, journals: Mapping[int, Path]) -> None:
        for number in journals.keys() - self._over.keys():
            first, end = first_and_end(journals[number])
            if first is not None and end is not None:
                self._over[number] = end, trial_seconds(journals[number]) or 0.0


def _milestone(over: Mapping[int, tuple[dict[str, Any], float]], number: int, trials: int) -> Milestone:
    last = over[number][0]
    complete = [(end["value"], -n) for n, (end, _) in over.items() if end["state"] == "complete"]
    best, best_number = max(complete, default=(None, None))
    return Milestone(
        number=number,
        trials=trials,
        timestamp=last["timestamp"],
        value=last["value"],
        best=best,
        best_trial=None if best_number is None else -best_number,
        over=len(over),
        eta_seconds=eta_seconds([over[n][1] for n in sorted(over)], trials - len(over)),
    )
