"""`make torture` in short: killed again and again, the same command ends the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.conftest import ROOT
from tests.torture.__main__ import differences
from tests.torture.groups import GROUPS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def test_a_difference_is_found_wherever_it_is() -> None:
    """A changed leaf, a row more, a key less: said with its place."""
    expected = {"trials": [[0, "COMPLETE", [0.5]], [1, "PRUNED", []]], "page": True}
    assert differences(expected, expected) == []
    assert differences(expected, {**expected, "page": False}) == ["/page: True became False"]
    assert differences(expected, {"trials": expected["trials"]}) == ["/page: True became None"]
    other = [[0, "COMPLETE", [0.5000001]], [1, "PRUNED", []]]
    assert differences(expected, {**expected, "trials": other}) == ["/trials/0/2/0: 0.5 became 0.5000001"]
    assert len(differences(expected, {**expected, "trials": other[:1]})) == 1


@pytest.mark.parametrize(
    "large",
    [
        pytest.param([], id="small"),
        pytest.param(["--parallel-bytes", "0"], id="parallel", marks=pytest.mark.slow),
    ],
)
def test_no_kill_changes_the_result(tmp_path: Path, large: list[str]) -> None:
    """Ended in each group of moments, once as a whole command and else in forks, a study ends the same;
    where two files of a checkpoint are written at a time too."""
    kills = 5
    words = ["--kills", str(kills), "--lanes", "1", "--seed", "1", "--folder", str(tmp_path / "torture")]
    words += large
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *_, met, missing, last = done.stdout.splitlines()
    assert missing == "groups not met: none"
    assert [group for group in GROUPS if f"{group} " not in met] == []
    assert last == f"{kills} kills, 0 different"
