"""Several processes on one study: no trial is run twice, and none is lost with the one that had it."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from tests.integration.conftest import thriftune
from tests.integration.holds import Holds
from tests.integration.networks import needs_networks, networks
from tests.integration.postgres import PASSWORD, Postgres, needs_postgres, postgres
from tests.integration.team import NAME, Team, Worker, check_team, run_kedro

from thriftune.databases.health import unavailable_reason
from thriftune.training.interrupt import CLOSING_SECONDS, GRACE_SECONDS

pytestmark = pytest.mark.integration


@pytest.mark.timeout(900)
def test_processes_of_one_machine_share_a_study(tmp_path: Path) -> None:
    """study.parallel on SQLite: each takes other trials; one is killed, and the other goes on with its trial
    from its checkpoint."""
    settings = {"study": {"trials": 3, "parallel": True}, "training": {"epochs": 4}}
    with Team(tmp_path, 1, None, settings) as team:
        holds = Holds(tmp_path / "holds", team.copies)
        holds.hold(3)
        (copy,) = team.copies
        first, second = Worker(copy, 0), Worker(copy, 1)
        for worker in (first, second):
            worker.until(r"trial \d .*, epoch 2 of 4")
        holds.until_held(3, [0, 1])
        (doomed,) = re.findall(r"trial (\d) .*: starts", first.said)
        first.kill()
        holds.release(3)
        assert second.end() == 0, second.said
        check_team(team, 3, [first, second])
    assert re.search(rf"took over trial {doomed} from a process that was killed: pid", second.said)
    assert re.search(rf"trial {doomed} .*: resumes after epoch \d", second.said)


def check_refusals(team: Team, server: Postgres) -> None:
    """A third machine that knows of no server, or has a wrong password, does nothing to a study at work."""
    outsider = team.copies[2]
    secrets = outsider / "conf/local/credentials.yml"
    known = yaml.safe_load(secrets.read_text(encoding="utf-8"))
    url = known["study_db"]["url"].replace(PASSWORD, "wrong")
    secrets.write_text(yaml.safe_dump({**known, "study_db": {"url": url}}))
    wrong = run_kedro(outsider, "run", "--pipelines", "hpo")
    assert wrong.returncode == 4, wrong.stderr
    assert "password authentication failed" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    found = unavailable_reason(known["mlflow"]["uri"].replace(PASSWORD, "wrong"))
    assert found is not None
    assert "refuses the connection" in found
    secrets.write_text(yaml.safe_dump({"mlflow": known["mlflow"]}))
    refused = run_kedro(outsider, "run", "--pipelines", "hpo")
    assert refused.returncode == 2, refused.stderr
    assert "is locked through the PostgreSQL" in refused.stderr
    client = MlflowClient(tracking_uri=server.url("mlflow").replace("postgresql://", "postgresql+psycopg://"))
    (experiment,) = client.search_experiments(filter_string="name = 'thriftune'")
    query = "tags.`thriftune.trial` = 'parent'"
    (run,) = client.search_runs([experiment.experiment_id], query)
    assert run.info.status == "RUNNING"
    for words, code in (
        (("study", "delete", NAME, "--yes"), 2),
        (("tracking", "flush"), 2),
        (("tracking", "rebuild", "--yes"), 2),
        (("storage", "clean", "--yes"), 0),
    ):
        done = thriftune(outsider, *words)
        assert (done.returncode, words) == (code, words), done.stderr
        assert "is locked through the PostgreSQL" in done.stderr


@pytest.mark.postgres
@pytest.mark.timeout(900)
@pytest.mark.measured
@needs_postgres
def test_workers_share_a_study_on_postgres(tmp_path: Path) -> None:
    """Two working copies on one server: trials are shared out, one worker dies in the middle of an epoch and
    the other goes on from its checkpoint; the server is started again on the way."""
    settings = {"study": {"trials": 3}, "training": {"epochs": 6}}
    with postgres() as server, Team(tmp_path, 3, server, settings) as team:
        holds = Holds(tmp_path / "holds", team.copies[:2])
        holds.hold(3)
        first, second = Worker(team.copies[0], 0), Worker(team.copies[1], 1)
        for worker in (first, second):
            worker.until(r"trial \d .*, epoch 2 of 6")
        holds.until_held(3, [0, 1])
        server.stop()
        server.start()
        holds.hold(5)
        holds.release(3)
        for worker in (first, second):
            worker.until("reconnected to PostgreSQL; no other process has taken anything over")
        holds.until_held(5, [0, 1])
        (doomed,) = re.findall(r"trial (\d) .*: starts", first.said)
        first.kill()
        holds.hold(6, int(doomed))
        holds.release(5)
        second.until(rf"trial {doomed} .*: resumes after epoch")
        busy = thriftune(team.copies[0], "study", "delete", "small", "--yes")
        assert busy.returncode == 2
        assert f"pid {second.process.pid} on" in busy.stderr
        check_refusals(team, server)
        holds.release(6, int(doomed))
        assert second.end() == 0, second.said
        check_team(team, 3, [first, second])


@pytest.mark.postgres
@needs_postgres
def test_a_signal_ends_a_worker_whose_server_hangs(tmp_path: Path) -> None:
    """PostgreSQL is stopped, and answers nobody; SIGTERM comes while the worker waits for it. It ends in the
    time that any signal is given, and the same command goes on with the trial."""
    settings = {"study": {"trials": 1}, "training": {"epochs": 4}}
    with postgres() as server, Team(tmp_path, 1, server, settings) as team:
        holds = Holds(tmp_path / "holds", team.copies)
        holds.hold(3)
        worker = Worker(team.copies[0], 0)
        worker.until("trial 0 .*, epoch 2 of 4")
        holds.until_held(3, [0])
        server.send(signal.SIGSTOP)
        holds.release(3)
        time.sleep(3)
        worker.process.send_signal(signal.SIGTERM)
        signalled = time.monotonic()
        assert worker.end() == 130, worker.said
        took = time.monotonic() - signalled
        server.send(signal.SIGCONT)
        print(f"ended {took:.1f} s after the signal")
        assert took <= GRACE_SECONDS + CLOSING_SECONDS + 1, worker.said
        again = Worker(team.copies[0], 0)
        assert again.end() == 0, again.said
        check_team(team, 1, [again])


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(2400)
@needs_postgres
def test_four_workers_a_hundred_trials(tmp_path: Path) -> None:
    """Two of four die in the middle of trials, which others continue; the server is started again; all keep
    one budget at every moment, the least that four workers need."""
    settings = {"study": {"trials": 100}, "training": {"epochs": 4}, "search": {"pruner": "median"}}
    with postgres() as server, Team(tmp_path, 4, server, settings) as team:
        budget = team.set_least_budget()
        workers = [Worker(copy, number) for number, copy in enumerate(team.copies)]
        adopted = []
        for victim, after in ((0, 15), (1, 45)):
            workers[2].until_over(after)
            adopted.append(workers[victim].kill_in_a_trial())
            if victim == 0:
                server.stop()
                server.start()
        for worker in workers[2:]:
            assert worker.end(1800) == 0, worker.said
        check_team(team, 100, workers)
        assert team.most_bytes <= budget
        print(f"at most {team.most_bytes} of {budget} bytes were held")
        survivors = workers[2].said + workers[3].said
        for trial in adopted:
            assert re.search(rf"trial {trial} .*: resumes after epoch \d", survivors), trial


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_postgres
@needs_networks
def test_a_worker_that_was_cut_off_commits_nothing_more(tmp_path: Path) -> None:
    """Two workers in network namespaces of their own; one's link to PostgreSQL is down for a minute, with its
    checkpoint folder still in reach. The other takes its trial over."""
    settings = {"study": {"trials": 2}, "training": {"epochs": 60}}
    with (
        networks(2) as links,
        postgres(links[0].server) as server,
        Team(tmp_path, 2, server, settings) as team,
    ):
        holds = Holds(tmp_path / "holds", team.copies[:1])
        holds.hold(5)
        first = Worker(team.copies[0], 0, links[0].prefix)
        holds.until_held(5, [0])
        second = Worker(team.copies[1], 1, links[1].prefix)
        second.until("trial 1 .*, epoch 1 of 60")
        links[0].cut()
        cut_at = time.monotonic()
        holds.release(5)
        second.until("trial 0 .*: resumes after epoch")
        print(f"taken over after {time.monotonic() - cut_at:.0f} s")
        time.sleep(max(0.0, cut_at + 60 - time.monotonic()))
        links[0].mend()
        first.until("trial 0 was taken over")
        assert first.end() == 0, first.said
        assert second.end() == 0, second.said
        check_team(team, 2, [first, second])
        note = json.loads((team.study / "attempts/0000.json").read_text(encoding="utf-8"))
        assert note["number"] == 2
        for path in team.study.glob("trials/trial_0000_*/checkpoints/*/manifest.json"):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            assert manifest["attempt"] == 2 or manifest["epoch"] in note["accepted"]
