"""SIGKILL at moments spread over a whole `kedro run`: the same command ends the same."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import SMALL, copy_project, python
from tests.integration.deeds import run
from tests.integration.kills import PARAMS, command
from tests.integration.outcome import outcome
from tests.integration.servers import free_port, mlflow_server, process

from thriftune.training.interrupt import CLOSING_SECONDS, GRACE_SECONDS

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    """How many operations a whole run has, and what it ends with."""
    project = copy_project(tmp_path_factory.mktemp("whole"))
    assert command(project, 0) == 0
    found = outcome(project)
    assert found["statuses"] == ["FINISHED"]
    assert len(found["journals"]) == 2
    assert found["page"]
    return int((project / "operations").read_text(encoding="utf-8")), found


MOMENTS = 20
IN_SHORT = (3, 19)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(i, id=f"{i + 1} of {MOMENTS}", marks=[] if i in IN_SHORT else pytest.mark.slow)
        for i in range(MOMENTS)
    ],
)
def test_killed_anywhere_the_same_command_ends_the_same(
    tmp_path: Path, uninterrupted: tuple[int, dict[str, Any]], moment: int
) -> None:
    """Evenly spread over all operations, from ingest's first to the report's last; then killed again
    while it resumes."""
    operations, expected = uninterrupted
    project = copy_project(tmp_path)
    at = 1 + round(moment * (operations - 1) / (MOMENTS - 1))
    assert command(project, at) == -signal.SIGKILL
    command(project, 1 + moment % 7)
    assert command(project, 0) == 0
    found = outcome(project)
    for key, value in expected.items():
        assert found[key] == value, key


def test_it_says_where_it_goes_on_and_why(tmp_path: Path) -> None:
    """Killed in the first epoch, then in the second, then done twice: the checkpoint, its step, and which
    steps are made again; never more than lie between two saves."""
    project = copy_project(tmp_path)
    extra = ",training.batch_size=8,training.accumulation=2,tracking.log_every_steps=1,storage.overlap=false"
    # The start record, four steps an epoch, then a row of validation and one of time.
    assert (
        run(project, extra, ("append metrics.jsonl", 4, "kill", 0, signal.SIGKILL)).returncode
        == -signal.SIGKILL
    )
    second = run(project, extra, ("append metrics.jsonl", 8, "kill", 0, signal.SIGKILL))
    assert second.returncode == -signal.SIGKILL
    said = " ".join(second.stderr.split())
    assert "took over the study from a process that was killed: pid" in said
    assert (
        "starts again from the beginning, since it has no valid checkpoint; at least steps 1 to 2 are" in said
    )
    third = run(project, extra)
    assert third.returncode == 0, third.stderr
    said = " ".join(third.stderr.split())
    where = "resumes after epoch 1 (step 4), from its newest valid checkpoint"
    assert f"{where}; at least steps 5 to 7 are repeated" in said
    assert "trial 1 (2 of 2): starts " in said


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGTERM, "create corpus.json.tmp"), (signal.SIGINT, "append train.jsonl")],
    ids=["SIGTERM as the corpus is completed", "SIGINT as its first split is written"],
)
def test_a_signal_outside_the_search_ends_in_order_too(tmp_path: Path, number: int, moment: str) -> None:
    """While the corpus is ingested: exit code 130, how to go on, and the study's run in MLflow is KILLED, not
    FINISHED; the same command ends it."""
    project = copy_project(tmp_path)
    done = run(project, "", (moment, 1, "kill", 0, number))
    assert done.returncode == 130, done.stderr
    assert "run the same command again to resume" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    with closing(sqlite3.connect(project / "data/tracking/mlflow.db")) as database:
        tagged = "select run_uuid from tags where key = 'thriftune.trial' and value = 'parent'"
        statuses = database.execute(f"select status from runs where run_uuid in ({tagged})").fetchall()
    assert statuses == [("KILLED",)]
    assert run(project).returncode == 0
    assert outcome(project)["statuses"] == ["FINISHED"]


@pytest.mark.slow
def test_a_signal_does_not_wait_for_a_server_that_hangs(tmp_path: Path) -> None:
    """MLflow's server is stopped, then the run gets SIGTERM: exit code 130 within the ten seconds that it
    has."""
    project, port = copy_project(tmp_path), free_port()
    extra = f",training.epochs=200,tracking.mlflow_uri=http://127.0.0.1:{port}"
    with mlflow_server(tmp_path / "server", port) as group:
        words = ("kedro", "run", "--pipelines", "hpo", "--params", SMALL + extra)
        with process(project, "run", *words) as running:
            wait_until(project / "run.log", running, lambda text: "epoch 2 of 200" in text)
            os.killpg(group, signal.SIGSTOP)
            time.sleep(3)
            running.terminate()
            signalled = time.monotonic()
            assert running.wait(60) == 130
    assert time.monotonic() - signalled < GRACE_SECONDS + CLOSING_SECONDS + 1


def wait_until(log: Path, program: subprocess.Popen[bytes], found: Callable[[str], bool]) -> None:
    """Until the log of a program that must not end is as wanted."""
    while not found(text := " ".join(log.read_text(encoding="utf-8").split())):
        assert program.poll() is None, text
        time.sleep(0.05)


def test_a_second_process_is_told_whose_the_study_is(tmp_path: Path) -> None:
    """Refused with pid, host and instant while the first is stopped, and while it runs, with how to end it;
    once that is dead the same command takes the study over and resumes."""
    project, more = copy_project(tmp_path), ",training.epochs=1000"
    words = ("kedro", "run", "--pipelines", "hpo", "--params", SMALL + more)
    with process(project, "first", *words) as first:
        wait_until(project / "first.log", first, lambda text: "epoch 1 of 1000" in text)
        owner = f"pid {first.pid} on {socket.gethostname()} since"
        for number, advice in ((signal.SIGSTOP, "`kill -KILL "), (signal.SIGCONT, "end it with `kill ")):
            os.kill(first.pid, number)
            refused = run(project, more)
            said = " ".join(refused.stderr.split())
            assert refused.returncode == 2
            assert f"another process is working on this study: {owner}" in said
            assert f"{advice}{first.pid}`" in said
        os.kill(first.pid, signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
    with process(project, "next", *words) as following:
        adopted = f"took over the study from a process that was killed: pid {first.pid}"
        wait_until(project / "next.log", following, lambda text: adopted in text and "resumes" in text)


MAKE_DATABASE = """
import sys
from pathlib import Path
from thriftune.config import parse_parameters
from thriftune.tracking.parent import connect
connect(parse_parameters({"tracking": {"root": "tracking"}}, root=Path.cwd())).parent_run("s", "s")
print("made")
"""


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(1, id="at its first byte", marks=pytest.mark.slow),
        pytest.param(200_000, id="at 200 kB", marks=pytest.mark.slow),
        pytest.param(500_000, id="at 500 kB"),
    ],
)
def test_killed_while_mlflow_makes_its_tables(tmp_path: Path, size: int) -> None:
    """MLflow makes them in dozens of transactions: what a kill leaves between two of them is never opened."""
    words = [sys.executable, "-c", MAKE_DATABASE]
    growing = tmp_path / "tracking" / ".new-mlflow.db"
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as made:
        deadline = time.monotonic() + 120
        while made.poll() is None and not (growing.exists() and growing.stat().st_size >= size):
            assert time.monotonic() < deadline, "its database does not grow"
            time.sleep(0.001)
        made.kill()
    assert made.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert not (tmp_path / "tracking" / "mlflow.db").exists()
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout == "made\n"
    assert not growing.exists()


# The optimizer's fsync hangs; then SIGTERM comes, between two steps.
HANGING = """
import os, signal, sys, threading, time
from pathlib import Path
from thriftune import files
hanging = threading.Event()
def observe(event):
    if event.operation == "fsync" and event.path.name == "optimizer.safetensors":
        hanging.set()
        time.sleep(60)
    if event.operation == "append" and hanging.is_set() and not Path("signalled").exists():
        Path("signalled").write_text(str(time.time()))
        os.kill(os.getpid(), signal.SIGTERM)
files.observer = observe
sys.argv = ["kedro", "run", "--pipelines", "hpo", "--params", sys.argv[1]]
from kedro.framework.cli import main
main()
"""


def test_a_signal_does_not_wait_for_a_write_that_hangs(
    tmp_path: Path, uninterrupted: tuple[int, dict[str, Any]]
) -> None:
    """The write, which would take a minute, is abandoned: exit code 130; the same command ends the same."""
    project = copy_project(tmp_path)
    done = python(project, HANGING, PARAMS)
    took = time.time() - float((project / "signalled").read_text(encoding="utf-8"))
    assert done.returncode == 130, done.stderr
    assert took < 40
    assert "is abandoned" in " ".join((done.stdout + done.stderr).split())
    assert command(project, 0) == 0
    found = outcome(project)
    for key, value in uninterrupted[1].items():
        assert found[key] == value, key
