"""The series of points that the charts of report.html show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from thriftune.checkpoints.store import CheckpointStore
from thriftune.reports.charts import Axis, Point
from thriftune.reports.summary import StudySummary, TrialSummary, best_first
from thriftune.reports.trial_costs import read_trial_costs
from thriftune.study.handle import StudyHandle
from thriftune.study.layout import journals_of
from thriftune.study.record import StudyRecord
from thriftune.tracking.records import read_metrics
from thriftune.training.optimisation import optimizer_slots

CURVES_SHOWN, AXES_SHOWN = 5, 12


def bytes_held(
    study: StudyHandle, store: CheckpointStore, record: StudyRecord, found: StudySummary
) -> dict[str, list[Point]]:
    """Return the bytes at the end of each trial, the budget, and what keeping everything would have taken.

    Args:
        study: The study.
        store: Its checkpoints.
        record: Its record.
        found: Its summary.

    Returns:
        (trial, bytes) by name: held, budget, keep-all.
    """
    rows = found["trials"]
    costs = read_trial_costs(journals_of(study.folder), record.budget_bytes)
    held = [(float(number), size) for number, size in zip(costs.trials, costs.held_bytes, strict=True)]
    # Files beside checkpoints count too. Their size is that at the last trial's end, so that a page that is
    # written again is the same.
    kept = sum(entry.manifest.total_bytes for entry in store.entries())
    beside = max(0, held[-1][1] - kept) if held else 0
    weights = _checkpoint_bytes(store, record)
    saved = accumulate(row["epochs"] * weights for row in rows)
    return {
        "held": held,
        "budget": [(float(row["trial"]), float(record.budget_bytes)) for row in (rows[0], rows[-1])],
        "keep-all": [(float(row["trial"]), beside + size) for row, size in zip(rows, saved, strict=True)],
    }


def curves(study: StudyHandle, rows: Sequence[TrialSummary], key: str) -> dict[int, list[Point]]:
    """Return (epoch, value) of the best trials.

    Args:
        study: The study.
        rows: Its trials.
        key: The journals' key of the metric.

    Returns:
        At most CURVES_SHOWN curves by trial, that of the best first.
    """
    best = sorted((row for row in rows if row["value"] is not None), key=best_first)
    journals = journals_of(study.folder)
    return {
        row["trial"]: [
            (r.step, r.value)
            for r in read_metrics(journals[row["trial"]])
            if r.key == key and r.value is not None
        ]
        for row in best[:CURVES_SHOWN]
        if row["trial"] in journals
    }


def axes(trials: Sequence[FrozenTrial], importances: Mapping[str, float]) -> list[Axis]:
    """Return the searched parameters that varied, the most important first.

    Args:
        trials: In any state; those that are complete count.
        importances: By dotted key.
    """
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    kinds = {name: kind for trial in complete for name, kind in trial.distributions.items()}
    names = sorted(kinds, key=lambda name: -importances.get(name, 0.0))
    found = [
        Axis(name, [trial.params.get(name) for trial in complete], _is_logarithmic(kinds[name]))
        for name in names
    ]
    return [axis for axis in found if len(set(map(str, axis.values))) > 1][:AXES_SHOWN]


def _is_logarithmic(kind: BaseDistribution) -> bool:
    return isinstance(kind, FloatDistribution | IntDistribution) and kind.log


def _checkpoint_bytes(store: CheckpointStore, record: StudyRecord) -> int:
    """Return the bytes of a checkpoint with its optimizer state."""
    best = store.best()
    model = best.info.model_bytes if best is not None else 0
    return model * (1 + optimizer_slots(record.parameters()))
