"""What MLflow's run of a study shows of its progress: a function of the trials' journals alone.

Computed again from the journals it is the same, whatever was interrupted: step = trial number, timestamp =
the trial's end. What depends on the machine's speed is under `system/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thriftune.observe.progress import eta_seconds
from thriftune.tracking.keys import MACHINE_PREFIX
from thriftune.tracking.records import EndRecord, MetricRow, start_and_end, trial_seconds

VALUE, BEST, OVER = "study/value", "study/best", "study/trials_over"
ETA = f"{MACHINE_PREFIX}eta_seconds"
PARENT_KEYS = (VALUE, BEST, OVER, ETA)
PROGRESS_TAG = "thriftune.progress"


@dataclass(frozen=True)
class ProgressPoint:
    """The study at the end of one of its trials."""

    number: int
    """The trial's."""
    trials: int
    """Number of trials of the study."""
    timestamp: int
    """The trial's end, in milliseconds since 1970."""
    value: float | None
    best: float | None
    best_trial: int | None
    over: int
    eta_seconds: float
    """Estimated time of the trials that are left (see observe.progress)."""

    @property
    def rows(self) -> list[MetricRow]:
        """The point as metrics of the study's run."""
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


class StudyProgressLog:
    """The progress of one study. The journal of a trial that has ended is read once."""

    def __init__(self) -> None:
        self._over: dict[int, tuple[EndRecord, float]] = {}
        """The end of each trial that has ended, and the seconds that it took."""

    def at(self, journals: Mapping[int, Path], number: int, trials: int) -> ProgressPoint | None:
        """Return the progress at the end of a trial; None before it has ended.

        Args:
            journals: Paths of the study's journals by trial number.
            number: The trial's.
            trials: Number of trials of the study.
        """
        self._read(journals)
        if number not in self._over:
            return None
        until = self._ended(number)
        over = {n: found for n, found in self._over.items() if self._ended(n) <= until}
        return _progress_point(over, number, trials)

    def last(self, journals: Mapping[int, Path], trials: int) -> ProgressPoint | None:
        """Return the progress at the end of the trial that ended last; None before one has ended.

        Args:
            journals: Paths of the study's journals by trial number.
            trials: Number of trials of the study.
        """
        self._read(journals)
        return self.at(journals, max(self._over, key=self._ended), trials) if self._over else None

    def _ended(self, number: int) -> tuple[int, int]:
        """Order trials by their ends: several workers do not end them in the order of numbers."""
        return self._over[number][0].timestamp, number

    def _read(self, journals: Mapping[int, Path]) -> None:
        for number in journals.keys() - self._over.keys():
            start, end = start_and_end(journals[number])
            if start is not None and end is not None:
                self._over[number] = end, trial_seconds(journals[number]) or 0.0


def _progress_point(over: Mapping[int, tuple[EndRecord, float]], number: int, trials: int) -> ProgressPoint:
    last = over[number][0]
    complete = [
        (end.value, -n) for n, (end, _) in over.items() if end.state == "complete" and end.value is not None
    ]
    best, best_number = max(complete, default=(None, None))
    return ProgressPoint(
        number=number,
        trials=trials,
        timestamp=last.timestamp,
        value=last.value,
        best=best,
        best_trial=None if best_number is None else -best_number,
        over=len(over),
        eta_seconds=eta_seconds([over[n][1] for n in sorted(over)], trials - len(over)),
    )
