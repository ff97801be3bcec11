"""docs/parts.md, as a reader without Kedro would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.conftest import ROOT

pytestmark = pytest.mark.integration
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/parts.md").read_text(encoding="utf-8"), re.S)
WITHOUT_KEDRO = """
import importlib.abc
import sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("kedro", "kedro_mlflow", "kedro_datasets", "kedro_viz"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder of its own, where Kedro cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_KEDRO + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_each_part_works_without_kedro(tmp_path: Path) -> None:
    """The page's blocks run one after the other; a second start continues where the first ended."""
    assert len(BLOCKS) >= 6
    program = "\n".join(BLOCKS)
    for _ in range(2):
        done = run(program, tmp_path)
        assert done.returncode == 0, done.stderr
    assert "kedro" not in done.stderr


def test_it_is_kedro_that_cannot_be_imported(tmp_path: Path) -> None:
    """Else the test above would say nothing."""
    done = run("import thriftune.project.hooks", tmp_path)
    assert done.returncode == 1
    assert "No module named 'kedro" in done.stderr


def test_the_store_of_the_page_resumes_after_a_kill(tmp_path: Path) -> None:
    """Killed with SIGKILL in its third epoch, the loop continues after the newest checkpoint and holds what
    an uninterrupted one holds."""
    loop = BLOCKS[0]
    killed = loop.replace(
        "        run.submit(",
        "        if epoch == 4:\n            import os; os.kill(os.getpid(), 9)\n        run.submit(",
    )
    assert killed != loop
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = run(loop, tmp_path / "whole")
    assert run(killed, tmp_path / "killed").returncode == -9
    said = loop.replace("epoch = newest.epoch", "epoch = newest.epoch; print('after', epoch)")
    resumed = run(said, tmp_path / "killed")
    assert whole.returncode == resumed.returncode == 0, whole.stderr + resumed.stderr
    assert resumed.stdout.startswith("after ")
    assert whole.stdout == resumed.stdout.split("\n", 1)[1]
