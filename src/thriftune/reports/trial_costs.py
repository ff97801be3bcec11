"""What the framework itself spends on each trial, as the trials' journals have it under `system/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thriftune.tracking.keys import FIGURES, HELD, MEMORY, OPEN_FILES, OWN, THREADS, TOTAL
from thriftune.tracking.records import last_machine_rows


@dataclass(frozen=True)
class TrialCosts:
    """One value a trial that is over, in the order of their numbers."""

    trials: tuple[int, ...]
    """Numbers of the trials."""
    own_seconds: tuple[float, ...]
    """What the framework itself took: neither training nor waiting for checkpoint bytes."""
    trial_seconds: tuple[float, ...]
    memory_bytes: tuple[float, ...]
    """Resident memory of the process."""
    held_bytes: tuple[float, ...]
    """What counts against the budget, on disk."""
    open_files: tuple[float, ...]
    threads: tuple[float, ...]
    budget_bytes: int


def read_trial_costs(journals: Mapping[int, Path], budget_bytes: int) -> TrialCosts:
    """Return what each trial cost, from the end of its journal.

    Args:
        journals: The journals by number of the trial; one without figures, or of a trial that is not over,
            is left out.
        budget_bytes: The study's byte budget.
    """
    ends = ((number, last_machine_rows(path)) for number, path in journals.items())
    found = [(number, row) for number, row in ends if row.keys() >= set(FIGURES)]

    def series(key: str) -> tuple[float, ...]:
        return tuple(_rounded(row[key]) for _, row in found)

    return TrialCosts(
        trials=tuple(number for number, _ in found),
        own_seconds=series(OWN),
        trial_seconds=series(TOTAL),
        memory_bytes=series(MEMORY),
        held_bytes=series(HELD),
        open_files=series(OPEN_FILES),
        threads=series(THREADS),
        budget_bytes=budget_bytes,
    )


def _rounded(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 4)
