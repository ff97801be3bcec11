"""Several processes on one study: no trial is run twice, and none is lost with the one that had it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.integration.conftest import thriftune
from tests.integration.postgres import needs_postgres, postgres
from tests.integration.team import Team, Worker, check_team

pytestmark = pytest.mark.integration


def test_processes_of_one_machine_share_a_study(tmp_path: Path) -> None:
    """study.parallel on SQLite: each takes other trials; one is killed, and the other goes on with its trial
    from its checkpoint."""
    settings = {"study": {"trials": 3, "parallel": True}, "training": {"epochs": 40}}
    with Team(tmp_path, 1, None, settings) as team:
        (copy,) = team.copies
        first, second = Worker(copy, 0), Worker(copy, 1)
        for worker in (first, second):
            worker.until(r"trial \d .*, epoch 3 of 40")
        (doomed,) = re.findall(r"trial (\d) .*: starts", first.said)
        first.kill()
        assert second.end() == 0, second.said
        check_team(team, 3, [first, second])
    assert re.search(rf"adopted trial {doomed} from a process that was killed: pid", second.said)
    assert re.search(rf"trial {doomed} .*: goes on after epoch \d", second.said)


@pytest.mark.postgres
@needs_postgres
def test_workers_share_a_study_on_postgres(tmp_path: Path) -> None:
    """Two working copies on one server: trials are shared out, one worker dies in the middle of an epoch and
    the other goes on from its checkpoint; the server is started again on the way."""
    settings = {"study": {"trials": 3}, "training": {"epochs": 40}}
    with postgres() as server, Team(tmp_path, 2, server, settings) as team:
        first, second = Worker(team.copies[0], 0), Worker(team.copies[1], 1)
        for worker in (first, second):
            worker.until(r"trial \d .*, epoch 2 of 40")
        server.stop()
        server.start()
        for worker in (first, second):
            worker.until("connected to PostgreSQL again; nobody has taken anything over")
        doomed = re.findall(r"trial (\d) .*: starts", first.said)[-1]
        first.kill()
        second.until(rf"trial {doomed} .*: goes on after epoch")
        busy = thriftune(team.copies[0], "study", "delete", "small", "--yes")
        assert busy.returncode == 2
        assert f"pid {second.process.pid} on" in busy.stderr
        assert second.end() == 0, second.said
        check_team(team, 3, [first, second])


def _forecast(team: Team) -> dict[str, int]:
    shown = thriftune(team.copies[0], "storage", "forecast", "--model-size", "600kB", "--json")
    found: dict[str, int] = json.loads(shown.stdout)
    return found
