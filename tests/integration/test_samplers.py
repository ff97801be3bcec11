"""Every sampler and pruner in `kedro run`, over a space with conditions two deep."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from tests.conftest import TINY
from tests.integration.conftest import SMALL, copy_project, python

pytestmark = pytest.mark.integration

RUN = """
import sys
sys.argv = ["kedro", "run", "--params", sys.argv[1]]
from kedro.framework.cli import main
main()
"""
SPACE = {
    "model.criteria_agent.head": {"type": "categorical", "choices": ["linear", "mlp"]},
    "model.criteria_agent.loss": {
        "type": "categorical",
        "choices": ["bce", "focal"],
        "when": {"model.criteria_agent.head": "mlp"},
    },
    "model.criteria_agent.focal_gamma": {
        "type": "float",
        "low": 1.0,
        "high": 3.0,
        "when": {"model.criteria_agent.loss": ["focal"]},
    },
    "training.batch_size": {"type": "int", "low": 8, "high": 24, "step": 8},
    "training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
}
GRID = {
    "model.criteria_agent.head": {"type": "categorical", "choices": ["linear", "mlp"]},
    "training.batch_size": {"type": "int", "low": 8, "high": 16, "step": 8},
}


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        ("tpe", "hyperband"),
        ("gp", "patient"),
        ("qmc", "threshold"),
        ("grid", "median"),
        pytest.param("random", "none", marks=pytest.mark.slow),
    ],
)
def test_a_study_of_each_sampler_and_pruner_ends_with_what_was_drawn(
    tmp_path: Path, sampler: str, pruner: str
) -> None:
    """Five trials to the report; what Optuna has of a trial is what its configuration says, and only that."""
    project = copy_project(tmp_path)
    search = {
        "space": GRID if sampler == "grid" else SPACE,
        "sampler": sampler,
        "startup_trials": 2,
        "pruner": pruner,
        "pruner_startup_trials": 1,
        "pruner_patience": 0,
        "pruner_threshold": 0.01,
    }
    base = project / "conf/base/parameters.yml"
    parameters = yaml.safe_load(base.read_text(encoding="utf-8"))
    parameters["search"].update(search)
    base.write_text(yaml.safe_dump(parameters), encoding="utf-8")
    own = {"encoders": {"tiny": TINY}}
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(own), encoding="utf-8")
    done = python(project, RUN, f"{SMALL},study.trials=5,training.epochs=2")
    assert done.returncode == 0, done.stderr
    assert list(project.glob("data/06_models/*/report.html"))
    with closing(sqlite3.connect(project / "data/tracking/optuna.db")) as database:
        trials = dict(database.execute("select trial_id, number from trials").fetchall())
        named = database.execute("select trial_id, param_name from trial_params").fetchall()
        attributes = database.execute(
            "select trial_id, value_json from trial_user_attributes where key = 'overrides'"
        ).fetchall()
    assert sorted(trials.values()) == list(range(5))
    assert len(attributes) == 5
    assert len({stored for _, stored in attributes}) >= 4  # the first, as written, may be a cell of the grid
    for trial, stored in attributes:
        overrides = json.loads(json.loads(stored))
        assert {name for owner, name in named if owner == trial} == overrides.keys()
        if sampler != "grid":
            head, loss = (overrides.get(f"model.criteria_agent.{name}") for name in ("head", "loss"))
            assert (loss is not None) == (head == "mlp")
            assert ("model.criteria_agent.focal_gamma" in overrides) == (loss == "focal")
        config = next(project.glob(f"data/06_models/*/trials/trial_{trials[trial]:04d}_*/config.yaml"))
        resolved = yaml.safe_load(config.read_text(encoding="utf-8"))
        for key, value in overrides.items():
            place = resolved
            for part in key.split("."):
                place = place[part]
            assert place == value
