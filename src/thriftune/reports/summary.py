"""A study in figures: states, best, what mattered, time and bytes; `study list` and `study show` print it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from thriftune import files
from thriftune.checkpoints.disk import human_bytes
from thriftune.config import parse_parameters
from thriftune.observe.progress import human_seconds
from thriftune.reports.overhead import read_summary
from thriftune.search.optuna_study import trial_row, trials_of
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import STUDY_PREFIX
from thriftune.study.layout import journals_of
from thriftune.tracking.journal import read_rows, trial_seconds
from thriftune.tracking.keys import EPOCH_SECONDS

FEWEST_FOR_IMPORTANCE = 20
"""Complete trials: the best tenth of them is compared with all, and one trial is no tenth."""
SHOWN = 10
STATES = ("complete", "pruned", "fail", "running")

Row = dict[str, Any]


def summarise(
    handle: StudyHandle, *, weighing: bool = True, trials: Sequence[FrozenTrial] | None = None
) -> Row:
    """All that is known of a study: totals, the best, importances (with `weighing`), what the framework
    spent, the trials. trials: Optuna's, where they were read already."""
    record = handle.record()
    assert record is not None
    parameters = parse_parameters(record["config"])
    trials = trials_of(handle) if trials is None else trials
    journals = journals_of(handle.folder)
    rows = []
    for trial in trials:
        journal, row = journals.get(trial.number), dict(trial_row(trial))
        if journal is not None:
            row["seconds"] = trial_seconds(journal)
            if row["seconds"] is None and row["state"] == "running":
                row["seconds"] = _so_far(journal)
        held = 0 if journal is None else files.directory_bytes(journal.parent)
        rows.append(row | {"bytes": held})
    counts = Counter(row["state"] for row in rows)
    complete = [row for row in rows if row["state"] == "complete" and row["value"] is not None]
    best = min(complete, key=_rank, default=None)
    return {
        "name": handle.name,
        "id": handle.id,
        "metric": parameters.study.metric,
        "trials_over": len(rows) - counts["running"],
        "trials_in_all": record["trials"],
        "ended": record.get("ended"),
        "states": {state: counts[state] for state in STATES},
        "best": best,
        "importances": importances(trials) if weighing else None,
        "seconds": sum(row["seconds"] or 0.0 for row in rows),
        "bytes": files.directory_bytes(handle.folder),
        "budget_bytes": parameters.storage.max_total_size,
        "evaluated": (handle.folder / "evaluation.json").exists(),
        "overhead": read_summary(journals, parameters.storage.max_total_size),
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


def print_list(rows: Sequence[Row], console: Console) -> None:
    """A line a study."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("name", overflow="fold")  # never cut: it is what the commands take
    for name in ("trials", "complete", "pruned", "fail", "best", "time", "held", "test"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            row["trials"],
            *("" if row[state] is None else str(row[state]) for state in STATES[:-1]),
            _figure(row["best"]),
            "" if row["seconds"] is None else human_seconds(row["seconds"]),
            human_bytes(row["bytes"]),
            "damaged" if "problem" in row else "done" if row["evaluated"] else "",
        )
    console.print(table)
    for row in rows:
        if "problem" in row:
            _line(f"study {row['name']} is damaged: {row['problem']}", console)


def print_study(found: Row, console: Console, *, every: bool) -> None:
    """Totals, the best configuration, importances, then the best trials and the last, or every one."""
    words = {"running": "interrupted"} if found.get("at_work") is False else {}
    states = ", ".join(f"{count} {words.get(s, s)}" for s, count in found["states"].items() if count)
    budget = human_bytes(found["budget_bytes"])
    _line(
        f"study {found['name']}: {found['trials_over']} of {found['trials_in_all']} trials are over"
        + (f" ({states})" if states else "")
        + (f"; it ended: {found['ended']}" if found["ended"] else ""),
        console,
    )
    _line(f"{human_seconds(found['seconds'])}; {human_bytes(found['bytes'])} of {budget} held", console)
    best = found["best"]
    rows = [{**row, "state": words.get(row["state"], row["state"])} for row in found["trials"]]
    if best is not None:
        _pairs(
            f"best {found['metric']}: {_figure(best['value'])} of trial {best['trial']}, which sets",
            {key: _figure(value) for key, value in best["overrides"].items()},
            console,
        )
    if found["importances"] is not None:
        shares = {key: f"{share:4.0%}" for key, share in found["importances"].items()}
        _pairs("what told the best tenth of the trials from all", shares, console)
    elif best is not None:
        _line(f"importances: from {FEWEST_FOR_IMPORTANCE} complete trials that differ", console)
    if every or len(rows) <= 2 * SHOWN:
        _trials("trials", rows, console)
        return
    valued = sorted((row for row in rows if row["value"] is not None), key=_rank)
    _trials(f"the best {SHOWN}", [row for row in valued if row["state"] == "complete"][:SHOWN], console)
    _trials(f"the last {SHOWN}; --all shows every one", rows[-SHOWN:], console)


def _line(text: str, console: Console) -> None:
    console.print(text, highlight=False, markup=False)


def _pairs(title: str, values: Mapping[str, str], console: Console) -> None:
    width = max((len(key) for key in values), default=0)
    _line(title, console)
    for key, value in values.items():
        _line(f"  {key:<{width}}  {value}", console)


def _trials(title: str, rows: Sequence[Row], console: Console) -> None:
    """A line a trial, its end cut where the terminal ends."""
    lines = [("trial", "state", "value", "epochs", "time", "held", "sets; why it ended")]
    for row in rows:
        sets = " ".join(f"{key.rpartition('.')[2]}={_figure(v)}" for key, v in row["overrides"].items())
        lines.append(
            (
                str(row["trial"]),
                row["state"],
                _figure(row["value"]),
                str(row["epochs"]),
                "" if row["seconds"] is None else human_seconds(row["seconds"]),
                human_bytes(row["bytes"]),
                f"{row['reason']}; {sets}" if row["reason"] else sets,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    _line(f"\n{title}", console)
    for *cells, last in lines:
        text = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        console.print(
            f"{text}  {last}", overflow="ellipsis", no_wrap=True, crop=True, highlight=False, markup=False
        )


def _rank(row: Row) -> tuple[float, int]:
    """The best first, the earliest of equals."""
    return -row["value"], row["trial"]


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
