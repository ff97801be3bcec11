"""The tutorial, run as it stands."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from tests.integration.conftest import Run

pytestmark = pytest.mark.integration
TUTORIAL = Path(__file__).parents[2] / "docs/tutorial.md"


def test_the_tutorial_does_what_it_says(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block's commands succeed, and print the lines that are shown below, in that order."""
    blocks = re.findall(r"```(bash|text)\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks].count("bash") == 7
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("posts.csv", "annotations.csv"):
        (project / name).unlink(missing_ok=True)
    printed = ""
    for kind, text in blocks:
        if kind == "bash":
            done = run("/bin/bash", "-e", "-c", text)
            assert done.returncode == 0, done.stdout + done.stderr
            printed = done.stdout + done.stderr
        else:
            pieces = [re.escape(piece) for piece in re.split(r"\.\.\.|\n", text.strip())]
            assert re.search(".*?".join(pieces), printed, re.DOTALL), printed
