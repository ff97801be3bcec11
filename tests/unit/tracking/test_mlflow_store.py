"""MLflow's runs of a study: all of them are found, however many there are."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.databases import copy_mlflow_tables

from thriftune.config import parse_parameters
from thriftune.tracking.mlflow_store import RUNS_PER_PAGE, STUDY_TAG
from thriftune.tracking.parent import connect

pytestmark = pytest.mark.unit


def test_every_run_of_a_study_of_a_thousand_trials_is_deleted(tmp_path: Path) -> None:
    """MLflow lists 1,000 at most, the newest first: the study's own run is beyond them. Others stay."""
    copy_mlflow_tables(tmp_path / "tracking")
    sink = connect(parse_parameters({"tracking": {"root": "tracking"}}, root=tmp_path))
    parent = sink.parent_run("s", "s")
    other = sink.parent_run("other", "other")
    with closing(sqlite3.connect(tmp_path / "tracking" / "mlflow.db")) as database:
        columns = [row[1] for row in database.execute("pragma table_info(runs)") if row[1] != "run_uuid"]
        names = ", ".join(columns)
        database.executemany(
            f"insert into runs (run_uuid, {names}) select ?, {names} from runs where run_uuid = ?",
            [(f"{number:032x}", parent) for number in range(RUNS_PER_PAGE)],
        )
        database.executemany(
            "insert into tags (key, value, run_uuid) values (?, 's', ?)",
            [(STUDY_TAG, f"{number:032x}") for number in range(RUNS_PER_PAGE)],
        )
        database.commit()
        assert sink.delete_runs("s") == RUNS_PER_PAGE + 1
        rows = database.execute("select run_uuid from runs where lifecycle_stage = 'active'").fetchall()
    assert rows == [(other,)]
