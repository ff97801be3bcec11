"""Whether MLflow has all that the journals have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

METRIC = "joint.f1_micro"


def client_of(uri: str) -> MlflowClient:
    """A client that keeps no connection: MLflow has one store for each URI, and a database may be deleted and
    made anew under it. The projects under test keep theirs, as a user's do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        return MlflowClient(tracking_uri=uri)


def check_complete(project: Path, uri: str | None = None, study: str = "small", trials: int = 2) -> None:
    """Every row of every journal of the study is in MLflow once, in order; a run a trial, one for the study
    with the test figures; all ended."""
    client = client_of(uri or f"sqlite:///{project}/data/tracking/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'thriftune'")
    found = client.search_runs(
        [experiment.experiment_id], f"tags.`thriftune.study_id` like '{study}-%'", max_results=1000
    )
    runs = {run.data.tags["thriftune.trial"]: run for run in found}
    assert len(runs) == len(found) == trials + 1
    assert f"test/{METRIC}" in runs["parent"].data.metrics
    over = client.get_metric_history(runs["parent"].info.run_id, "study/trials_over")
    assert [(m.step, m.value) for m in over] == [(number, number + 1) for number in range(trials)]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for number, journal in enumerate(
        sorted(project.glob(f"data/06_models/study_{study}-*/trials/*/metrics.jsonl"))
    ):
        rows = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
        wanted: dict[str, list[tuple[int, int, float]]] = {}
        for row in rows:
            if row.get("value") is not None and "key" in row:
                wanted.setdefault(row["key"], []).append((row["step"], row["timestamp"], row["value"]))
        run = runs[str(number)]
        assert "training.epochs" in run.data.params
        assert run.data.metrics.keys() == wanted.keys()
        for key, values in wanted.items():
            sent = client.get_metric_history(run.info.run_id, key)
            assert [(m.step, m.timestamp, m.value) for m in sent] == values, key
