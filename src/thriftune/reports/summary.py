"""A study in figures: states, best trial, importances, time and bytes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NotRequired, TypedDict

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from thriftune import files
from thriftune.reports.trial_costs import read_trial_costs
from thriftune.search.storage import trials_of
from thriftune.search.trials import Values, trial_row
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import STUDY_PREFIX
from thriftune.study.layout import journals_of
from thriftune.tracking.keys import EPOCH_SECONDS
from thriftune.tracking.records import read_metrics, trial_seconds

FEWEST_FOR_IMPORTANCE = 20
"""Complete trials: the best tenth is compared with all, and it has to be more than one trial."""
STATES = ("complete", "pruned", "fail", "running")


class TrialSummary(TypedDict):
    """One trial, as the commands print it and Kedro-Viz draws it."""

    trial: int
    """Its number."""
    state: str
    """One of STATES."""
    value: float | None
    """Its value of the metric; None while it runs, and if it failed."""
    epochs: int
    """Epochs with a value."""
    seconds: float | None
    """Time in which a process worked on it."""
    attempt: int | None
    reason: str | None
    """Why it was pruned or failed."""
    overrides: Values
    """The parameters that it sets, by dotted key."""
    bytes: int
    """Bytes of its folder."""


class StudySummary(TypedDict):
    """One study, as `thriftune study show --json` prints it."""

    name: str
    id: str
    metric: str
    trials_over: int
    """Trials that have ended, whatever their state."""
    trials_in_all: int
    ended: dict[str, JsonValue] | None
    """The rule that ended the search before its last trial; None if none did."""
    states: dict[str, int]
    """Trials by state."""
    best: TrialSummary | None
    importances: dict[str, float] | None
    """See `importances`; None also if they were not asked for."""
    seconds: float
    """Seconds of all trials together."""
    bytes: int
    """Bytes of the study's folder."""
    budget_bytes: int
    evaluated: bool
    """Whether the test evaluation is there."""
    overhead: dict[str, JsonValue]
    """The fields of TrialCosts."""
    trials: list[TrialSummary]
    """All trials, in the order of their numbers."""
    at_work: NotRequired[bool | None]
    """Whether a process is working on the study; None if that cannot be known here."""


class ListedStudy(TypedDict):
    """One line of `thriftune study list`; of a damaged study most is None."""

    name: str
    id: str
    trials: str
    """Ended and all, as "3/10"."""
    complete: int | None
    pruned: int | None
    fail: int | None
    running: int | None
    best: float | None
    best_trial: int | None
    seconds: float | None
    bytes: int
    evaluated: bool
    problem: NotRequired[str]
    """What is wrong with its record."""


def summarise(
    handle: StudyHandle, *, with_importances: bool = True, trials: Sequence[FrozenTrial] | None = None
) -> StudySummary:
    """Return what is known of a study that has a record.

    Args:
        handle: The study.
        with_importances: Whether to compute them, which takes seconds.
        trials: Optuna's trials, in order of their numbers; None: they are read.
    """
    record = handle.record()
    assert record is not None
    parameters = record.parameters()
    trials = trials_of(handle) if trials is None else trials
    journals = journals_of(handle.folder)
    rows = [_summarise_trial(trial, journals.get(trial.number)) for trial in trials]
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
        "importances": importances(trials) if with_importances else None,
        "seconds": sum(row["seconds"] or 0.0 for row in rows),
        "bytes": files.directory_bytes(handle.folder),
        "budget_bytes": parameters.storage.max_total_size,
        "evaluated": (handle.folder / "evaluation.json").exists(),
        "overhead": asdict(read_trial_costs(journals, record.budget_bytes)),
        "trials": rows,
    }


def _summarise_trial(trial: FrozenTrial, journal: Path | None) -> TrialSummary:
    """Return one trial; without a journal, the seconds are those that Optuna has."""
    row = trial_row(trial)
    seconds, held = row.seconds, 0
    if journal is not None:
        seconds, held = trial_seconds(journal), files.directory_bytes(journal.parent)
        if seconds is None and row.state == "running":
            seconds = _seconds_so_far(journal)
    return {
        "trial": row.trial,
        "state": row.state,
        "value": row.value,
        "epochs": row.epochs,
        "seconds": seconds,
        "attempt": row.attempt,
        "reason": row.reason,
        "overrides": row.overrides,
        "bytes": held,
    }


def _seconds_so_far(journal: Path) -> float:
    """Return the seconds of the epochs of a trial that has not ended."""
    return sum(row.value or 0.0 for row in read_metrics(journal) if row.key == EPOCH_SECONDS)


def importances(trials: Sequence[FrozenTrial]) -> dict[str, float] | None:
    """Return how much each searched key separates the best tenth of the complete trials from all of them.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023). A key that is searched under a condition counts by
    the trials that have it; one that never varied has 0.

    Args:
        trials: In any state.

    Returns:
        Shares of 1 by dotted key, largest first; None if fewer than FEWEST_FOR_IMPORTANCE trials are
        complete, or no key separates them.
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


def listed(found: StudySummary) -> ListedStudy:
    """Return the line of a study among others.

    Args:
        found: Its summary.
    """
    best, states = found["best"], found["states"]
    return {
        "name": found["name"],
        "id": found["id"],
        "trials": f"{found['trials_over']}/{found['trials_in_all']}",
        "complete": states["complete"],
        "pruned": states["pruned"],
        "fail": states["fail"],
        "running": states["running"],
        "best": None if best is None else best["value"],
        "best_trial": None if best is None else best["trial"],
        "seconds": found["seconds"],
        "bytes": found["bytes"],
        "evaluated": found["evaluated"],
    }


def listed_damaged(name: str, folder: Path, problem: str) -> ListedStudy:
    """Return the line of a study whose record cannot be read.

    Args:
        name: The study's name, as far as it is known.
        folder: Its folder.
        problem: What is wrong with the record.
    """
    return {
        "name": name,
        "id": folder.name.removeprefix(STUDY_PREFIX),
        "trials": "?",
        "complete": None,
        "pruned": None,
        "fail": None,
        "running": None,
        "best": None,
        "best_trial": None,
        "seconds": None,
        "bytes": files.directory_bytes(folder),
        "evaluated": False,
        "problem": problem,
    }


def best_first(row: TrialSummary) -> tuple[float, int]:
    """Return the sort key that puts the best trial first, the earliest of equal ones.

    Args:
        row: A trial with a value.
    """
    assert row["value"] is not None
    return -row["value"], row["trial"]
