"""MLflow's store fails in every way while a study trains: training goes on, and in the end every row is there
exactly once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from tests.integration.complete import check_complete, client_of
from tests.integration.conftest import SMALL, copy_project, python, thriftune
from tests.integration.deeds import run
from tests.integration.outcome import outcome
from tests.integration.servers import ANSWERS, FORWARD, LOST, free_port, in_front, mlflow_server

from thriftune.study.file_locks import StudyLock

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def flush(project: Path, extra: str = "") -> str:
    if extra:
        local = project / "conf/local/parameters.yml"
        local.write_text("tracking: {mlflow_uri: '" + extra.partition("=")[2] + "'}\n", encoding="utf-8")
    done = thriftune(project, "tracking", "flush")
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_a_server_that_is_absent_at_the_start_gets_everything_later(tmp_path: Path) -> None:
    """`kedro run` trains to its report; the message says what waits; flush sends it."""
    project, port = copy_project(tmp_path), free_port()
    uri = f"http://127.0.0.1:{port}"
    done = run(project, f",tracking.mlflow_uri={uri}")
    assert done.returncode == 0, done.stderr
    assert "MLflow's store cannot be used" in said(done)
    assert "metric rows are still to be sent" in said(done)
    assert list(project.glob("data/06_models/*/evaluation.json"))
    assert not (project / "mlruns").exists()
    with mlflow_server(tmp_path / "server", port):
        assert "rows sent" in flush(project, f"uri={uri}")
        check_complete(project, uri)
        assert flush(project, f"uri={uri}") == "0 rows sent\n"


def test_rows_go_to_the_store_that_the_study_was_run_with(tmp_path: Path) -> None:
    """It was given by --params: a flush without them finds it on record and says so, a damaged one is set
    aside and made anew, and what the configuration names goes before what is on record."""
    project, own = copy_project(tmp_path, mlflow_tables=False), tmp_path / "own.db"
    uri = f"sqlite:///{own}"
    assert run(project, f",tracking.mlflow_uri={uri}").returncode == 0
    own.unlink()
    flushed = " ".join(flush(project).split())
    assert f"rows sent to {uri}, which it was run with" in flushed
    check_complete(project, uri)
    assert not database(project).exists()
    own.write_bytes(b"no database at all" * 500)
    refused = thriftune(project, "tracking", "flush")
    assert refused.returncode == 4
    assert "tracking rebuild" in refused.stderr
    rebuilt = thriftune(project, "tracking", "rebuild", "--yes")
    assert f"set aside {own}.old-" in rebuilt.stdout, rebuilt.stderr
    check_complete(project, uri)
    other = f"sqlite:///{tmp_path}/other.db"
    asked = thriftune(project, "tracking", "flush", "--params", f"tracking.mlflow_uri={other}")
    assert asked.returncode == 0, asked.stderr
    assert f"rows sent to {other}; it was run with {uri}: --params" in asked.stdout
    check_complete(project, other)


@pytest.mark.parametrize(
    ("number", "moment", "at"),
    [
        (signal.SIGKILL, "append", 8),
        pytest.param(signal.SIGSTOP, "append", 8, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "append", 14, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "optuna_tell", 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "create evaluation.json.tmp", 1, marks=pytest.mark.slow),
    ],
)
def test_a_server_that_goes_or_hangs_is_made_good(tmp_path: Path, number: int, moment: str, at: int) -> None:
    """Killed, or stopped without an answer: between two metric rows, at the end of the last trial, after the
    test evaluation. The run ends well; the next one sends what is missing."""
    project, port = copy_project(tmp_path), free_port()
    extra = f",tracking.mlflow_uri=http://127.0.0.1:{port}"
    with mlflow_server(tmp_path / "server", port) as group:
        done = run(project, extra, (moment, at, "kill", -group, number))
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "tracking flush` sends" in said(done)
        assert list(project.glob("data/06_models/*/report.html"))
    with mlflow_server(tmp_path / "server", port):
        again = run(project, extra)
        assert again.returncode == 0, again.stderr
        check_complete(project, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "fault", [LOST, *(pytest.param(name, marks=pytest.mark.slow) for name in ("hang", *ANSWERS))]
)
def test_a_server_that_comes_back_has_every_row_once(tmp_path: Path, fault: str) -> None:
    """In the middle of a trial it hangs, answers 500, a page, rubbish, or does what it is asked and says that
    it failed; some rows later it is itself again. The very run delivers all, what was stored twice once."""
    project, port, mode = copy_project(tmp_path), free_port(), tmp_path / "mode"
    mode.write_text(FORWARD, encoding="utf-8")
    with mlflow_server(tmp_path / "server", port), in_front(mode, port) as front:
        done = run(
            project,
            f",study.trials=2,training.epochs=2,tracking.log_every_steps=1"
            f",tracking.mlflow_uri=http://127.0.0.1:{front}",
            ("append metrics.jsonl", 6, "write", str(mode), fault),
            ("optuna_tell", 2, "write", str(mode), FORWARD),
        )
        assert done.returncode == 0, done.stderr
        if fault != "hang":  # which MLflow's own second try may outlast
            assert "MLflow does not accept metrics" in said(done)
            assert "MLflow accepts metrics again" in said(done)
        check_complete(project, f"http://127.0.0.1:{port}")
        assert flush(project, f"uri=http://127.0.0.1:{front}") == "0 rows sent\n"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ANSWERS)
def test_a_server_that_answers_wrongly_is_told_from_mlflow(tmp_path: Path, fault: str) -> None:
    """500, a page of something else, rubbish: said with the status, and the run trains."""
    project, mode = copy_project(tmp_path), tmp_path / "mode"
    mode.write_text(fault, encoding="utf-8")
    with in_front(mode) as port:
        secret = f'mlflow: {{uri: "http://user:hunter2@127.0.0.1:{port}"}}\n'
        (project / "conf/local/credentials.yml").write_text(secret, encoding="utf-8")
        done = run(project)
    assert done.returncode == 0, done.stderr
    assert f"answers {ANSWERS[fault][0]}, not as an MLflow server does" in said(done)
    assert "hunter2" not in done.stdout + done.stderr
    assert list(project.glob("data/06_models/*/evaluation.json"))


def database(project: Path) -> Path:
    return project / "data/tracking/mlflow.db"


@contextmanager
def locked(project: Path) -> Iterator[None]:
    with sqlite3.connect(database(project), isolation_level=None) as other:
        other.execute("begin exclusive")
        yield
        other.execute("rollback")
    other.close()


@contextmanager
def read_only(project: Path) -> Iterator[None]:
    """Bound onto itself without the right to write, since root writes whatever the mode says."""
    path = str(database(project))
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", path, path], check=False).returncode != 0:
        pytest.skip("needs root and mounts")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@contextmanager
def garbled(project: Path) -> Iterator[None]:
    database(project).write_bytes(b"no database at all" * 500)
    yield


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(locked, "database is locked", marks=pytest.mark.slow),
        pytest.param(read_only, "readonly database", marks=pytest.mark.slow),
        (garbled, "tracking rebuild"),
    ],
)
def test_a_database_that_cannot_be_used_stops_nothing(
    tmp_path: Path, spoil: Callable[[Path], Iterator[None]], reason: str
) -> None:
    """Locked by another process, read-only, or no database: said with the reason, the run trains; a damaged
    one is rebuilt from the journals, the others get what waits."""
    project = copy_project(tmp_path)
    assert run(project, ",study.name=before,study.trials=1").returncode == 0
    with spoil(project):
        done = run(project)
        assert done.returncode == 0, done.stderr
        assert reason in said(done)
        assert list(project.glob("data/06_models/study_small-*/evaluation.json"))
    if spoil is garbled:
        refused = thriftune(project, "tracking", "flush")
        assert refused.returncode == 4
        assert "tracking rebuild" in refused.stderr
        assert "would set aside" in thriftune(project, "tracking", "rebuild").stdout
        assert thriftune(project, "tracking", "rebuild", "--yes").returncode == 0
    else:
        assert "rows sent" in flush(project)
    check_complete(project)
    assert flush(project) == "0 rows sent\n"


def test_a_full_disk_under_mlflow_alone_stops_nothing(tmp_path: Path) -> None:
    """MLflow's database on a file system of its own, which has room for its tables and few rows: the run
    trains to its report; with room, `tracking flush` sends what waits."""
    project, disk = copy_project(tmp_path), tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs root and mounts")
    try:
        uri = f",tracking.mlflow_uri=sqlite:///{disk}/mlflow.db"
        assert run(project, f"{uri},study.name=before,study.trials=1").returncode == 0
        (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        done = run(project, uri)
        assert done.returncode == 0, done.stderr
        assert "journals" in said(done)
        assert list(project.glob("data/06_models/study_small-*/report.html"))
        (disk / "filler").unlink()
        assert "rows sent" in flush(project, f"uri=sqlite:///{disk}/mlflow.db")
        check_complete(project, f"sqlite:///{disk}/mlflow.db")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def delete_database(path: Path) -> None:
    """With its logs: SQLite would play one that a kill left back into a new file of the same name."""
    for part in path.parent.glob(f"{path.name}*"):
        part.unlink()


@pytest.mark.measured
def test_every_database_is_rebuilt_from_the_journals_alone(tmp_path: Path) -> None:
    """Killed in the second trial, both databases deleted and rebuilt: the same runs, parameters, metrics,
    tags and nesting, the same Optuna trials; and the same command ends as the run that was never stopped."""
    whole, broken = (copy_project(folder_in(tmp_path, name)) for name in ("whole", "broken"))
    assert run(whole).returncode == 0
    assert (
        run(broken, "", ("append metrics.jsonl", 11, "kill", 0, signal.SIGKILL)).returncode == -signal.SIGKILL
    )
    assert "rows sent" in flush(broken)
    before = exported(broken), optuna_trials(broken)
    for path in (broken / "data/tracking").glob("*.db*"):
        path.unlink()
    done = thriftune(broken, "tracking", "rebuild", "--yes")
    assert done.returncode == 0, done.stderr
    assert "small: 2 trials" in done.stdout
    assert (exported(broken), optuna_trials(broken)) == before
    assert run(broken).returncode == 0
    check_complete(broken)
    assert outcome(broken) == outcome(whole)
    delete_database(broken / "data/tracking/optuna.db")
    again = run(broken, ",study.trials=3,study.extend=true")
    assert again.returncode == 0, again.stderr
    assert "lacked 2 trials" in said(again)
    assert [row[0] for row in optuna_trials(broken)] == [0, 1, 2]


def test_a_restoration_is_whole_or_goes_on(tmp_path: Path) -> None:
    """Optuna's database deleted and the process killed before the second trial is restored: the next run
    restores the rest and trains nothing. Without the first trial's journal, or with a garbled one, nothing
    is set aside and nothing restored under another number. While it works, a run is refused."""
    project = copy_project(tmp_path)
    assert run(project).returncode == 0
    before = outcome(project)
    delete_database(project / "data/tracking/optuna.db")
    restoring = python(project, RESTORING, SMALL)
    assert restoring.returncode == -signal.SIGKILL, restoring.stderr
    assert len(optuna_trials(project)) == 1
    done = run(project)
    assert done.returncode == 0, done.stderr
    assert "lacked 1 trials" in said(done)
    assert "starts" not in said(done)
    assert outcome(project) == before
    journal = next(project.glob("data/06_models/*/trials/trial_0000_*/metrics.jsonl"))
    content = journal.read_bytes()
    garbled = content.replace(b'"step": 1', b'"step": 9', 1)
    for damage, told in ((garbled, "delete only that line"), (None, "no journal")):
        journal.unlink()
        if damage is not None:
            journal.write_bytes(damage)
        refused = thriftune(project, "tracking", "rebuild", "--yes")
        assert refused.returncode != 0
        assert told in " ".join(refused.stderr.split())
        assert not list(project.glob("data/tracking/*.old-*"))
    journal.write_bytes(content)
    with StudyLock(journal.parents[2]):
        refused = thriftune(project, "tracking", "rebuild", "--yes")
        assert refused.returncode == 2
        assert "another process is working on this study" in " ".join(refused.stderr.split())
    assert outcome(project) == before


# Killed before the second trial is added to Optuna.
RESTORING = """
import os, signal, sys
from optuna import Study
add, count = Study.add_trial, 0
def add_trial(study, trial):
    global count
    count += 1
    if count == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    add(study, trial)
Study.add_trial = add_trial
sys.argv = ["kedro", "run", "--pipelines", "hpo", "--params", sys.argv[1]]
from kedro.framework.cli import main
main()
"""


# Just before the n-th of an operation Optuna's database is deleted, or locked until the process ends.
SPOILING = """
import json, sqlite3, sys
from pathlib import Path
from thriftune import files
from thriftune.search import storage
storage.BUSY_TIMEOUT_SECONDS = 0.5
fault, moment, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
count, held = 0, []
def observe(event):
    global count
    if moment not in (event.operation, event.operation + " " + event.path.name):
        return
    count += 1
    if count == at:
        if fault == "locked":
            other = sqlite3.connect("data/tracking/optuna.db", isolation_level=None, check_same_thread=False)
            other.execute("begin immediate")
            held.append(other)
        else:
            for path in Path("data/tracking").glob("optuna.db*"):
                path.unlink()
files.observer = observe
sys.argv = ["kedro", "run", "--pipelines", "hpo", "--params", sys.argv[4]]
from kedro.framework.cli import main
main()
"""


def test_optuna_s_database_fails_in_the_middle_and_the_study_ends_the_same(tmp_path: Path) -> None:
    """Locked for longer than it is waited for, or deleted: exit code 4 and what to do, no traceback. The same
    command goes on to what an uninterrupted run comes to. `evaluate` restores the trials too."""
    whole, project = (copy_project(folder_in(tmp_path, name)) for name in ("whole", "broken"))
    assert run(whole).returncode == 0
    faults = (
        ("locked", "optuna_tell", 1, "database is locked"),
        ("deleted", "append", 4, "was deleted while this process was working"),
        ("deleted", "unlink report.html", 1, "the same command again: it restores the trials"),
    )
    for fault, moment, at, told in faults:
        done = python(project, SPOILING, fault, moment, str(at), SMALL)
        assert done.returncode == 4, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert told in said(done), moment
    done = run(project)
    assert done.returncode == 0, done.stderr
    assert outcome(project) == outcome(whole)
    for path in (project / "data/tracking").glob("optuna.db*"):
        path.unlink()
    evaluated = python(project, EVALUATING, SMALL)
    assert evaluated.returncode == 2
    assert "evaluation.force=true" in evaluated.stderr
    assert outcome(project)["trials"] == outcome(whole)["trials"]


EVALUATING = """
import sys
sys.argv = ["kedro", "run", "--pipelines", "evaluate", "--params", sys.argv[1]]
from kedro.framework.cli import main
main()
"""


def folder_in(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def exported(project: Path) -> list[object]:
    """All runs as MLflow has them, ids replaced by what they stand for."""
    client = client_of(f"sqlite:///{database(project)}")
    (experiment,) = client.search_experiments(filter_string="name = 'thriftune'")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    names = {run.info.run_id: run.data.tags["thriftune.trial"] for run in runs}
    rows: list[object] = []
    for found in runs:
        tags = {k: v for k, v in found.data.tags.items() if k.startswith(("thriftune.", "version."))}
        tags["parent"] = names.get(found.data.tags.get("mlflow.parentRunId", ""), "")
        metrics = {
            key: [(m.step, m.timestamp, m.value) for m in client.get_metric_history(found.info.run_id, key)]
            for key in sorted(found.data.metrics)
        }
        rows.append(
            (names[found.info.run_id], found.info.status, sorted(tags.items()), metrics, found.data.params)
        )
    return sorted(rows, key=str)


def optuna_trials(project: Path) -> list[tuple[Any, ...]]:
    study = optuna.load_study(
        study_name="small-81db8ebb", storage=f"sqlite:///{project}/data/tracking/optuna.db"
    )
    return [
        (
            t.number, t.state, t.value, t.params, t.distributions, t.intermediate_values,
            t.user_attrs["overrides"],
        )
        for t in study.trials
    ]  # fmt: skip


def test_a_database_that_is_deleted_under_us_is_made_anew_by_the_next_run(tmp_path: Path) -> None:
    """Rows that went to the deleted file are sent again; those of the trials before too."""
    project = copy_project(tmp_path)
    done = run(project, "", ("append metrics.jsonl", 11, "unlink", None, None))
    assert done.returncode == 0, done.stderr
    assert "was deleted while it was in use" in said(done)
    again = run(project)
    assert again.returncode == 0, again.stderr
    check_complete(project)
