"""A worker that lost its session on PostgreSQL, and with it a trial, works on."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from tests.conftest import small_parameters, write_small_tables
from tests.integration.postgres import Postgres, needs_postgres, postgres
from tests.support.studies import facts, parts, run

from thriftune import files
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study import postgres_locks as module
from thriftune.study.postgres_locks import PostgresLock

pytestmark = [pytest.mark.integration, pytest.mark.postgres]

SESSIONS = "select pid from pg_stat_activity where application_name like %s"


def end_sessions(server: Postgres) -> None:
    """End this process's sessions, as the server does with those of a machine that is cut off."""
    mine = (f"thriftune {os.getpid()}@%",)
    with psycopg.connect(server.url("optuna"), autocommit=True) as connection:
        ended = connection.execute(f"select pg_terminate_backend(pid, 10000) from ({SESSIONS}) s", mine)
        assert ended.fetchall() == [(True,)]


@needs_postgres
def test_a_trial_that_another_worker_took_is_left_and_later_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the second epoch of its first trial the worker's session ends and another one takes the trial: it is
    left with a warning. The worker runs the next trial, in which the other dies, and goes on with the first:
    the study ends as if nothing had been."""
    monkeypatch.setattr(module, "GRACE_SECONDS", 0)  # the server has only just been started
    whole = tmp_path / "whole"
    shared = tmp_path / "shared"
    for folder in (whole, shared):
        folder.mkdir()
        write_small_tables(folder)
    study = {"name": "small", "trials": 2}
    reference = small_parameters(whole, study=study)
    run(reference)
    with postgres() as server, ExitStack() as other:
        url = server.url("optuna").replace("postgresql://", "postgresql+psycopg://")
        parameters = small_parameters(
            shared, study=study, tracking={"root": str(shared / "tracking"), "optuna_url": url}
        )
        done: list[str] = []

        def meanwhile(event: files.Event) -> None:
            if event.operation != "append" or event.path.name != "metrics.jsonl":
                return
            trial = event.path.parent
            if not done and (trial / "checkpoints/epoch_0001").exists():
                done.append(trial.name)
                end_sessions(server)
                lock = other.enter_context(PostgresLock(url, parts(parameters)[1].folder))
                assert lock.take(0, adopting=True)
            elif len(done) == 1 and trial.name != done[0]:
                done.append(trial.name)
                other.close()

        monkeypatch.setattr(files, "observer", meanwhile)
        with caplog.at_level("INFO"):
            run(parameters)
        assert [name[:10] for name in done] == ["trial_0000", "trial_0001"]
        assert "trial 0 was taken over while this worker was cut off from PostgreSQL: pid" in caplog.text
        trials = OptunaStudy.open(parts(parameters)[1], parameters).trials()
        assert [trial.user_attrs["attempt"] for trial in trials] == [2, 1]
        assert facts(parameters) == facts(reference)
