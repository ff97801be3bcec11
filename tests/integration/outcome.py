"""All that two runs of one study must have in common, whatever happened on the way."""

from __future__ import annotations

import hashlib
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
    journals = {path.parent.name: path for path in sorted(study.glob("trials/*/metrics.jsonl"))}
    reports = {path.parent.name: path for path in sorted(study.glob("trials/*/validation.json"))}
    _check_copied(journals, tracking / "mlflow.db")
    return {
        "evaluation": _evaluation(study),
        "predictions": (study / "predictions.jsonl").read_text(encoding="utf-8"),
        "journals": {name: _rows(path) for name, path in journals.items()},
        "records": {name: _records(path) for name, path in journals.items()},
        "reports": {name: _report(path) for name, path in reports.items()},
        "weights": _weights(study),
        **_mlflow(tracking / "mlflow.db"),
        "trials": _trials(tracking / "optuna.db"),
        "page": (study / "report.html").exists(),
        "debris": [path.name for path in study.rglob("*") if path.name.startswith((".tmp-", ".replaced-"))],
    }


def _check_copied(journals: dict[str, Path], database: Path) -> None:
    """Every row of a journal is in its run with its timestamp, and nothing else is."""
    query = (
        "select m.key, m.step, m.timestamp, m.value from metrics m join tags t on t.run_uuid = m.run_uuid "
        "and t.key = 'thriftune.trial' and t.value = ?"
    )
    with closing(sqlite3.connect(database)) as connection:
        for name, journal in journals.items():
            rows = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
            wanted = [
                (row["key"], row["step"], row["timestamp"], row["value"])
                for row in rows
                if "key" in row and row["value"] is not None
            ]
            sent = connection.execute(query, (str(int(name.split("_")[1])),)).fetchall()
            assert sorted(sent) == sorted(wanted), f"MLflow has not the rows of {name}"


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


def _weights(study: Path) -> dict[str, str]:
    """SHA-256 of the weights that are kept, from the files themselves."""
    found = sorted(study.glob("trials/*/checkpoints/epoch_*/model.safetensors"))
    return {str(path.relative_to(study)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def _records(journal: Path) -> list[dict[str, Any]]:
    """The start and the end of a trial."""
    rows = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
    return [
        {key: value for key, value in row.items() if key not in ("timestamp", "crc32")}
        for row in rows
        if "kind" in row
    ]


def _report(path: Path) -> dict[str, Any]:
    """A trial's validation report without the folders of its configuration."""
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {key: report[key] for key in ("epoch", "validation_score", "validation_metrics", "thresholds")}


def _mlflow(path: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(path)) as database:
        tags = "select run_uuid, value from tags where key = 'thriftune.trial'"
        runs = dict(database.execute(tags).fetchall())
        assert len(runs) == len(set(runs.values())), "a trial has two runs, or the study has"
        assert len(runs) == database.execute("select count(*) from runs").fetchone()[0]
        nested = "select run_uuid, value from tags where key = 'mlflow.parentRunId'"
        parents = {runs[run]: runs[parent] for run, parent in database.execute(nested).fetchall()}
        (progress,) = database.execute("select value from tags where key = 'thriftune.progress'").fetchone()
        rows = database.execute("select run_uuid, key, step, value from metrics").fetchall()
        params = database.execute("select run_uuid, key, value from params").fetchall()
        statuses = database.execute("select distinct status from runs").fetchall()
    metrics = sorted([runs[run], key, step, value] for run, key, step, value in rows if "system/" not in key)
    assert len({tuple(row) for row in metrics}) == len(metrics), "a row stands there twice"
    return {
        "metrics": metrics,
        "nesting": parents,
        "progress": progress,
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
