"""All that two runs of one study must have in common, whatever happened on the way."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def outcome(project: Path) -> dict[str, Any]:
    """The only study's evaluation, journals, MLflow rows and Optuna trials; times, paths and what measures
    the machine left out. Runs no SQLAlchemy, so that a process may fork after it."""
    (study,) = (project / "data/06_models").glob("study_*")
    tracking = project / "data/tracking"
    return {
        "evaluation": _evaluation(study),
        "predictions": (study / "predictions.jsonl").read_text(encoding="utf-8"),
        "journals": {path.parent.name: _rows(path) for path in sorted(study.glob("trials/*/metrics.jsonl"))},
        **_mlflow(tracking / "mlflow.db"),
        "trials": _trials(tracking / "optuna.db"),
        "page": (study / "report.html").exists(),
        "debris": [path.name for path in study.rglob("*") if path.name.startswith((".tmp-", ".replaced-"))],
    }


def _evaluation(study: Path) -> dict[str, Any]:
    """Best trial, SHA-256 of the weights, thresholds, test figures."""
    evaluation: dict[str, Any] = json.loads((study / "evaluation.json").read_text(encoding="utf-8"))
    assert len(evaluation["evaluations"]) == 1, "the test split was read more than once"
    for key in ("timings", "evaluations"):
        evaluation.pop(key)
    for checkpoint in evaluation["checkpoints"]:
        checkpoint.pop("path")
    return evaluation


def _rows(journal: Path) -> list[list[Any]]:
    """(key, step, value) in the order in which they were written."""
    return [
        [row[name] for name in ("key", "step", "value")]
        for row in map(json.loads, journal.read_text(encoding="utf-8").splitlines())
        if "key" in row and not row["key"].startswith("system/")
    ]


def _mlflow(path: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(path)) as database:
        tags = "select run_uuid, value from tags where key = 'thriftune.trial'"
        runs = dict(database.execute(tags).fetchall())
        assert len(runs) == database.execute("select count(*) from runs").fetchone()[0]
        rows = database.execute("select run_uuid, key, step, value from metrics").fetchall()
        params = database.execute("select run_uuid, key, value from params").fetchall()
        statuses = database.execute("select distinct status from runs").fetchall()
    metrics = sorted([runs[run], key, step, value] for run, key, step, value in rows if "system/" not in key)
    assert len({tuple(row) for row in metrics}) == len(metrics), "a row stands there twice"
    return {
        "metrics": metrics,
        "params": sorted([runs[run], key, value] for run, key, value in params if "root" not in key),
        "statuses": sorted(status for (status,) in statuses),
    }


def _trials(path: Path) -> list[list[Any]]:
    """Number, state, values by epoch, and parameters of every trial, in order."""
    tables = {
        "values": "select trial_id, value from trial_values order by 1",
        "epochs": "select trial_id, step, intermediate_value from trial_intermediate_values order by 1, 2",
        "params": "select trial_id, param_name, param_value, distribution_json from trial_params "
        "order by 1, 2",
        "overrides": "select trial_id, value_json from trial_user_attributes where key = 'overrides'",
    }
    with closing(sqlite3.connect(path)) as database:
        found = {name: database.execute(query).fetchall() for name, query in tables.items()}
        trials = database.execute("select trial_id, number, state from trials order by number").fetchall()
    return [
        [number, state, *([list(row[1:]) for row in found[name] if row[0] == trial] for name in tables)]
        for trial, number, state in trials
    ]
