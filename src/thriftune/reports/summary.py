"""A study in figures: states, best, what mattered, time and bytes; reports.terminal prints it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from thriftune import files
from thriftune.reports.trial_costs import read_trial_costs
from thriftune.search.storage import trials_of
from thriftune.search.trials import trial_row
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import STUDY_PREFIX
from thriftune.study.layout import journals_of
from thriftune.tracking.keys import EPOCH_SECONDS
from thriftune.tracking.records import read_rows, trial_seconds

FEWEST_FOR_IMPORTANCE = 20
"""Complete trials: the best tenth of them is compared with all, and one trial is no tenth."""
STATES = ("complete", "pruned", "fail", "running")

Row = dict[str, Any]


def summarise(
    handle: StudyHandle, *, weighing: bool = True, trials: Sequence[FrozenTrial] | None = None
) -> Row:
    """All that is known of a study: totals, the best, importances (with `weighing`), what the framework
    spent, the trials. trials: Optuna's, where they were read already."""
    record = handle.record()
    assert record is not None
    parameters = record.parameters()
    trials = trials_of(handle) if trials is None else trials
    journals = journals_of(handle.folder)
    rows = []
    for trial in trials:
        journal, row = journals.get(trial.number), asdict(trial_row(trial))
        if journal is not None:
            row["seconds"] = trial_seconds(journal)
            if row["seconds"] is None and row["state"] == "running":
                row["seconds"] = _so_far(journal)
        held = 0 if journal is None else files.directory_bytes(journal.parent)
        rows.append(row | {"bytes": held})
    counts = Counter(row["state"] for row in rows)
    complete = [row for row in rows if row["state"] == "complete" and row["value"] is not None]
    best = min(complete, key=best_first, default=None)
    return {
        "name": handle.name,
        "id": handle.id,
        "metric": parameters.study.metric,
        "trials_over": len(rows) - counts["running"],
        "trials_in_all": record.trials,
        "ended": None if record.ended is None else record.ended.to_json(),
        "states": {state: counts[state] for state in STATES},
        "best": best,
        "importances": importances(trials) if weighing else None,
        "seconds": sum(row["seconds"] or 0.0 for row in rows),
        "bytes": files.directory_bytes(handle.folder),
        "budget_bytes": parameters.storage.max_total_size,
        "evaluated": (handle.folder / "evaluation.json").exists(),
        "overhead": asdict(read_trial_costs(journals, record.budget_bytes)),
        "trials": rows,
    }


def _so_far(journal: Path) -> float:
    """Seconds of the epochs of a trial that is not over."""
    return sum(row.value or 0.0 for row in read_rows(journal) if row.key == EPOCH_SECONDS)


def importances(trials: Sequence[FrozenTrial]) -> dict[str, float] | None:
    """How much each searched key told the best tenth of the complete trials from all of them, largest first,
    in shares of 1 (PED-ANOVA); None where too few are complete, or nothing told them apart.

    A key that is searched under a condition counts by the trials that have it; one that never varied has 0.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(complete) < FEWEST_FOR_IMPORTANCE or not any(trial.params for trial in complete):
        return None
    from optuna.importance import PedAnovaImportanceEvaluator  # brings scikit-learn with it

    study = optuna.create_study(direction="maximize")
    study.add_trials(complete)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of keys that only a trial or two have
        found = PedAnovaImportanceEvaluator().evaluate(study)
    total = sum(found.values())
    if total <= 0:
        return None
    return {key: share / total for key, share in sorted(found.items(), key=lambda item: (-item[1], item[0]))}


def listed(found: Row) -> Row:
    """The row of a study among others."""
    best = found["best"] or {}
    return {
        "name": found["name"],
        "id": found["id"],
        "trials": f"{found['trials_over']}/{found['trials_in_all']}",
        **found["states"],
        "best": best.get("value"),
        "best_trial": best.get("trial"),
        "seconds": found["seconds"],
        "bytes": found["bytes"],
        "evaluated": found["evaluated"],
    }


def listed_damaged(name: str, folder: Path, problem: str) -> Row:
    """The row of a study whose record cannot be read, among others."""
    return {
        "name": name,
        "id": folder.name.removeprefix(STUDY_PREFIX),
        "trials": "?",
        **dict.fromkeys(STATES),
        "best": None,
        "best_trial": None,
        "seconds": None,
        "bytes": files.directory_bytes(folder),
        "evaluated": False,
        "problem": problem,
    }


def best_first(row: Row) -> tuple[float, int]:
    """The best first, the earliest of equals."""
    return -row["value"], row["trial"]
