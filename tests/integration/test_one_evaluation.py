"""Nothing reads the test split before the search is over: the whole command without its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.integration.conftest import SMALL, python

pytestmark = pytest.mark.integration

# From ingest's last write (its report) on, the test split's own file is away; it comes back when the
# evaluation begins (which removes an older report first).
PROGRAM = """
import sys
from pathlib import Path
from thriftune import files
aside = Path("aside").absolute()
moves = []
def observe(event):
    if event.operation == "fsync_directory" and event.path.name == "08_reporting" and not moves:
        (test,) = Path("data").glob("**/test.jsonl")
        moves.append(test.absolute())
        test.rename(aside)
    if event.operation == "unlink" and event.path.name == "report.html" and len(moves) == 1:
        moves.append(None)
        aside.rename(moves[0])
        Path("came back").touch()
files.observer = observe
sys.argv = ["kedro", "run", "--params", sys.argv[1]]
from kedro.framework.cli import main
main()
"""


def test_hpo_ends_though_the_test_split_is_away_while_it_searches(project: Path) -> None:
    """Moved away when ingest has ended, put back when the search has."""
    done = python(project, PROGRAM, SMALL)
    assert done.returncode == 0, done.stderr
    assert (project / "came back").exists()
    (study,) = (project / "data/06_models").glob("study_*")
    evaluation = json.loads((study / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["data"]["counts"]["test"] > 0
