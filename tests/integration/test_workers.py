"""Several processes on one study: none does what another does, none does what a dead one was about to lose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.integration.conftest import thriftune
from tests.integration.postgres import needs_postgres, postgres
from tests.integration.team import Team, Worker, check_team

pytestmark = pytest.mark.integration


def test_processes_of_one_machine_share_a_study(tmp_path: Path) -> None:
    """study.parallel on SQLite: each takes other trials; one is killed, and the other goes on with its trial
    from its checkpoint."""
    settings = {"study": {"trials": 4, "parallel": True}, "training": {"epochs": 4}}
    with Team(tmp_path, 1, None, settings) as team:
        (copy,) = team.copies
        first = Worker(copy, 0)
        first.until("trial 0 .*, epoch 2 of 4")
        second = Worker(copy, 1)
        second.until("trial [1-3] .*: starts")
        first.until(r"trial \d .*, epoch 2 of 4")
        first.kill()
        assert second.end() == 0, second.said
    check_team(team, 4, [first, second])
    if "goes on after epoch" not in second.said:  # it was killed between two trials
        assert "starts again from its beginning" not in second.said


@pytest.mark.postgres
@needs_postgres
def test_workers_share_a_study_on_postgres(tmp_path: Path) -> None:
    """Two working copies on one server: trials are shared out, one worker dies in the middle of an epoch and
    the other goes on from its checkpoint; the server is started again on the way."""
    settings = {"study": {"trials": 5}, "training": {"epochs": 4}}
    with postgres() as server, Team(tmp_path, 2, server, settings) as team:
        first = Worker(team.copies[0], 0)
        first.until("trial 0 .*, epoch 1 of 4")
        second = Worker(team.copies[1], 1)
        second.until(r"trial \d .*, epoch 1 of 4")
        server.stop()
        server.start()
        doomed = first.until(r"trial (\d) .*, epoch 2 of 4")
        first.kill()
        second.until(rf"trial {doomed[1]} .*: goes on after epoch")
        busy = thriftune(team.copies[0], "study", "delete", "small", "--yes")
        assert busy.returncode == 2
        assert f"pid {second.process.pid} on" in busy.stderr
        assert second.end() == 0, second.said
        check_team(team, 5, [first, second])


def _forecast(team: Team) -> dict[str, int]:
    shown = thriftune(team.copies[0], "storage", "forecast", "--model-size", "600kB", "--json")
    found: dict[str, int] = json.loads(shown.stdout)
    return found
