"""Studies that an earlier commit wrote: opened, resumed, reported and exported with the same results.

tests/data/make_studies.py says how they were made. The finished one is what the interrupted one
ended with when that commit itself was left to finish it.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests import processes
from tests.data.make_studies import PORTABLE
from tests.integration.conftest import ROOT, copy_project, environment, thriftune
from tests.integration.outcome import outcome

from thriftune import files

pytestmark = pytest.mark.integration
ARCHIVE = ROOT / "tests/data/studies_96b34aa.tar.xz"
STUDY = "data/06_models/study_old-cba06b57"
BEST = f"{STUDY}/trials/trial_0001_124f2555"
FORMAT_FILES = {
    "manifest.json": (f"{BEST}/checkpoints/epoch_0003/manifest.json", "format_version"),
    "study.json": (f"{STUDY}/study.json", "schema_version"),
    "evaluation.json": (f"{STUDY}/evaluation.json", "schema_version"),
}


def opened(parent: Path, name: str) -> Path:
    """Return a project of today's code around the study `whole` or `interrupted`."""
    project = copy_project(parent, mlflow_tables=False)
    with tarfile.open(ARCHIVE) as archive:
        members = [each for each in archive.getmembers() if each.name.startswith(f"{name}/")]
        for member in members:
            member.name = member.name.removeprefix(f"{name}/")
        archive.extractall(project, members, filter="data")
    return project


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished study, for tests that only read it."""
    return opened(tmp_path_factory.mktemp("finished"), "whole")


def told(project: Path, *words: str) -> Any:
    """Run a command with --json; what it says."""
    done = thriftune(project, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read(project: Path, name: str) -> Any:
    """Read a JSON file of the study."""
    return json.loads((project / STUDY / name).read_text(encoding="utf-8"))


def kedro_run(project: Path, *words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run `kedro run`; really where it has an environment of its own. Exit code and what it said."""
    words = (str(processes.BIN / "kedro"), "run", *words)
    done = processes.run(words, project, {**environment(project), **(env or {})}, real=env is not None)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_an_old_study_is_listed_and_shown(finished: Path) -> None:
    """With the trials, states, best value and test evaluation that its own code gave it."""
    evaluation = read(finished, "evaluation.json")
    (row,) = told(finished, "study", "list")
    assert (row["name"], row["trials"], row["complete"], row["evaluated"]) == ("old", "3/3", 3, True)
    assert (row["best_trial"], row["best"]) == (1, evaluation["validation_score"])
    shown = told(finished, "study", "show", "old")
    assert (shown["best"]["trial"], shown["best"]["value"]) == (1, evaluation["validation_score"])
    assert shown["best"]["overrides"].keys() == {
        "training.learning_rate",
        "model.criteria_agent.loss",
        "model.head_dropout",
    }


def test_the_best_of_an_old_study_is_verified_and_exported(finished: Path, tmp_path: Path) -> None:
    """Every hash of its checkpoints holds, and the exported model is the one that was evaluated."""
    assert told(finished, "storage", "verify") == []
    done = thriftune(finished, "checkpoint", "export", "old", str(tmp_path / "exported"))
    assert done.returncode == 0, done.stderr
    exported = json.loads((tmp_path / "exported/dual_agent.json").read_text(encoding="utf-8"))
    evaluation = read(finished, "evaluation.json")
    assert exported["sha256"] == evaluation["evaluations"][0]["sha256"]
    assert exported["validation_value"] == evaluation["validation_score"]
    assert (tmp_path / "exported/model.safetensors").stat().st_size > 0


def test_an_interrupted_old_study_ends_as_its_own_code_ended_it(finished: Path, tmp_path: Path) -> None:
    """The second trial resumes from the optimizer, the random state and the journal of the old code; rows,
    proposals, weights, test figures and MLflow's tables are those of the run that nothing interrupted."""
    project = opened(tmp_path, "interrupted")
    code, said = kedro_run(project, "--pipelines", "hpo", env=PORTABLE)
    assert code == 0, said
    assert "epoch 2 (step 16)" in said
    expected, found = _results(finished), _results(project)
    assert expected["statuses"] == ["FINISHED"]
    for key, value in expected.items():
        assert found[key] == value, key


def _results(project: Path) -> dict[str, Any]:
    """Return the outcome without what says who computed it, and without parameters that are new since."""
    found = outcome(project)
    for key in ("config", "versions", "git_commit", "machine"):
        del found["evaluation"][key]
    del found["params"]
    return found


def numbers(value: Any) -> list[float]:
    """Return every number in a JSON value, in order."""
    if isinstance(value, dict):
        return [number for key in sorted(value) for number in numbers(value[key])]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [] if isinstance(value, str) or value is None else [float(value)]


def test_an_old_study_is_reported_again_with_the_same_figures(tmp_path: Path) -> None:
    """Its model is evaluated once more, and evaluation and page are written by today's code."""
    project = opened(tmp_path, "whole")
    before = read(project, "evaluation.json")
    (project / STUDY / "report.html").unlink()
    code, said = kedro_run(project, "--pipelines", "evaluate", "--params", "evaluation.force=true")
    assert code == 0, said
    after = read(project, "evaluation.json")
    assert len(after["evaluations"]) == 2
    for key in ("test_metrics", "thresholds", "validation_score", "intervals"):
        assert numbers(after[key]) == pytest.approx(numbers(before[key]), abs=1e-5), key
    page = (project / STUDY / "report.html").read_text(encoding="utf-8")
    assert f"{before['test_metrics']['joint']['f1_micro']:.3f}" in page


def raise_version(path: Path, key: str) -> None:
    """Give a file the next version of its format, with its checksum where it has one."""
    value = json.loads(path.read_text(encoding="utf-8"))
    has_checksum = value.pop("checksum", None) is not None
    value[key] += 1
    path.write_text(
        json.dumps({**value, "checksum": files.sha256_json(value)} if has_checksum else value),
        encoding="utf-8",
    )


def contents(project: Path) -> dict[str, bytes]:
    """Return the study's files by path, without its lock and where its metrics were sent."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in sorted((project / STUDY).rglob("*"))
        if path.is_file() and path.name not in ("study.lock", "tracking.json")
    }


@pytest.mark.parametrize("name", FORMAT_FILES)
def test_a_file_of_a_newer_format_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    """A search would take it for damage, set the checkpoint aside and train again: exit code 2 instead, the
    file, both versions and the advice to install the newer one."""
    project = opened(tmp_path, "whole")
    path, key = FORMAT_FILES[name]
    raise_version(project / path, key)
    before = contents(project)
    code, said = kedro_run(project, "--pipelines", "hpo")
    assert code == 2, said
    assert f"{path}: was written by a newer version of Thriftune: it has format 2" in said
    assert "install the version that wrote it" in said
    assert contents(project) == before


def test_verify_names_checkpoints_of_a_newer_format(tmp_path: Path) -> None:
    """And does not call them damaged; one study of a newer version hides no other from the list."""
    project = opened(tmp_path, "whole")
    raise_version(project / FORMAT_FILES["manifest.json"][0], "format_version")
    done = thriftune(project, "storage", "verify", "--json")
    assert done.returncode == 1, done.stderr
    (row,) = json.loads(done.stdout)
    assert "newer version of Thriftune" in row["problem"]
    raise_version(project / FORMAT_FILES["study.json"][0], "schema_version")
    done = thriftune(project, "study", "list", "--json")
    (row,) = json.loads(done.stdout)
    assert row["name"] == "old"
    assert "newer version of Thriftune" in row["problem"]
