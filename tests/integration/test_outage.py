"""MLflow's store fails in every way while a study trains: training goes on, and in the end every row is there
exactly once (SPEC 8.3)."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from tests.integration.conftest import SMALL, copy_project, python, thriftune
from tests.integration.outcome import outcome

# A client keeps its connections by URI: here databases are deleted and made anew under one URI.
os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

# At the n-th metric row (0: never) something happens to the store: a signal to a process, or a file goes.
PROGRAM = """
import os, sys, threading
from pathlib import Path
from thriftune import files
at, deed, what = int(sys.argv[1]), sys.argv[2], sys.argv[3]
rows = 0
def observe(event):
    global rows
    if threading.current_thread() is threading.main_thread() and event.operation == "append":
        rows += 1
        if rows == at:
            if deed == "unlink":
                for path in Path("data/tracking").glob("mlflow.db*"):
                    path.unlink()
            else:
                os.kill(int(what) or os.getpid(), int(deed))
files.observer = observe
sys.argv = ["kedro", "run", "--pipeline", "hpo", "--params", sys.argv[4]]
from kedro.framework.cli import main
main()
"""


def run(
    project: Path, extra: str = "", at: int = 0, deed: str = "", what: object = ""
) -> subprocess.CompletedProcess[str]:
    return python(project, PROGRAM, str(at), deed, str(what), SMALL + extra)


def flush(project: Path, extra: str = "") -> str:
    if extra:
        local = project / "conf/local/parameters.yml"
        local.write_text("tracking: {mlflow_uri: '" + extra.partition("=")[2] + "'}\n", encoding="utf-8")
    done = thriftune(project, "tracking", "flush")
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def check_complete(project: Path, uri: str | None = None) -> None:
    """Every row of every journal is in MLflow once, in order; a run a trial, one for the study; all ended."""
    client = MlflowClient(tracking_uri=uri or f"sqlite:///{project}/data/tracking/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'thriftune'")
    runs = {
        run.data.tags["thriftune.trial"]: run
        for run in client.search_runs([experiment.experiment_id], max_results=100)
    }
    assert len(runs) == len(client.search_runs([experiment.experiment_id], max_results=100)) == 3
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for number, journal in enumerate(sorted(project.glob("data/06_models/*/trials/*/metrics.jsonl"))):
        rows = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
        wanted: dict[str, list[tuple[int, int, float]]] = {}
        for row in rows:
            if row.get("value") is not None and "key" in row:
                wanted.setdefault(row["key"], []).append((row["step"], row["timestamp"], row["value"]))
        run = runs[str(number)]
        assert run.data.params["training.epochs"] == "2"
        assert run.data.metrics.keys() == wanted.keys()
        for key, values in wanted.items():
            found = client.get_metric_history(run.info.run_id, key)
            assert [(m.step, m.timestamp, m.value) for m in found] == values, key


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[int]:
    """A real MLflow server on loopback; its process group's leader. Killed whole at the end."""
    folder.mkdir(exist_ok=True)
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "log").open("a") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words, "--backend-store-uri", f"sqlite:///{folder}/m.db"],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
        yield server.pid
    finally:
        for number in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(server.pid, number)
            except ProcessLookupError:
                break
        server.wait()


def test_a_server_that_is_absent_at_the_start_gets_everything_later(tmp_path: Path) -> None:
    """`kedro run` trains to its report; the message says what waits; flush sends it."""
    project, port = copy_project(tmp_path), free_port()
    uri = f"http://127.0.0.1:{port}"
    done = run(project, f",tracking.mlflow_uri={uri}")
    assert done.returncode == 0, done.stderr
    assert "MLflow's store cannot be used" in said(done)
    assert "metric rows wait in the journals" in said(done)
    assert list(project.glob("data/06_models/*/evaluation.json"))
    assert not (project / "mlruns").exists()
    with mlflow_server(tmp_path / "server", port):
        assert "rows sent" in flush(project, f"uri={uri}")
        check_complete(project, uri)
        assert flush(project, f"uri={uri}") == "0 rows sent\n"


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (signal.SIGKILL, 8),
        pytest.param(signal.SIGSTOP, 8, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, 14, marks=pytest.mark.slow),
    ],
)
def test_a_server_that_goes_or_hangs_in_the_middle_is_made_good(tmp_path: Path, number: int, at: int) -> None:
    """Killed, or stopped without an answer, between two metric rows; the next run sends what is missing."""
    project, port = copy_project(tmp_path), free_port()
    extra = f",tracking.mlflow_uri=http://127.0.0.1:{port}"
    with mlflow_server(tmp_path / "server", port) as group:
        done = run(project, extra, at, str(int(number)), -group)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "rows wait in the journals" in said(done)
    with mlflow_server(tmp_path / "server", port):
        again = run(project, extra)
        assert again.returncode == 0, again.stderr
        check_complete(project, f"http://127.0.0.1:{port}")


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """A server that answers everything alike; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *words: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body"), [(500, b"{}"), (200, b"<html>welcome</html>"), (200, b"\xff" * 9)]
)
def test_a_server_that_answers_wrongly_is_told_from_mlflow(tmp_path: Path, status: int, body: bytes) -> None:
    """500, a page of something else, rubbish: said with the status, and the run trains."""
    project = copy_project(tmp_path)
    with answering(status, body) as port:
        done = run(project, f",tracking.mlflow_uri=http://user:hunter2@127.0.0.1:{port}")
    assert done.returncode == 0, done.stderr
    assert f"answers {status}, not as an MLflow server does" in said(done)
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
    assert flush(project) == "0 rows sent\n"


def test_every_database_is_rebuilt_from_the_journals_alone(tmp_path: Path) -> None:
    """Killed in the second trial, both databases deleted and rebuilt: the same runs, parameters, metrics,
    tags and nesting, the same Optuna trials; and the same command ends as the run that was never stopped."""
    whole, broken = (copy_project(folder_in(tmp_path, name)) for name in ("whole", "broken"))
    assert run(whole).returncode == 0
    assert run(broken, at=11, deed=str(int(signal.SIGKILL)), what=0).returncode == -signal.SIGKILL
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
    (broken / "data/tracking/optuna.db").unlink()
    again = run(broken, ",study.trials=3,study.extend=true")
    assert again.returncode == 0, again.stderr
    assert "2 trials are restored" in said(again)
    assert [row[0] for row in optuna_trials(broken)] == [0, 1, 2]


def folder_in(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def exported(project: Path) -> list[object]:
    """All runs as MLflow has them, ids replaced by what they stand for."""
    client = MlflowClient(tracking_uri=f"sqlite:///{database(project)}")
    (experiment,) = client.search_experiments(filter_string="name = 'thriftune'")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    names = {run.info.run_id: run.data.tags["thriftune.trial"] for run in runs}
    rows: list[object] = []
    for run in runs:
        tags = {k: v for k, v in run.data.tags.items() if k.startswith(("thriftune.", "version."))}
        tags["parent"] = names.get(run.data.tags.get("mlflow.parentRunId", ""), "")
        metrics = {
            key: [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key)]
            for key in sorted(run.data.metrics)
        }
        rows.append((names[run.info.run_id], run.info.status, sorted(tags.items()), metrics, run.data.params))
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
    done = run(project, at=11, deed="unlink")
    assert done.returncode == 0, done.stderr
    assert "was deleted while it was in use" in said(done)
    again = run(project)
    assert again.returncode == 0, again.stderr
    check_complete(project)
