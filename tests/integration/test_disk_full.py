"""A real file system of fixed size that another process fills in the middle of `kedro run`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import copy_project
from tests.integration.test_kill import PARAMS, command, outcome

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root"),
]

# Before its n-th operation the disk is full to the last byte.
PROGRAM = """
import sys, threading
from pathlib import Path
from thriftune import files
count, at = 0, int(sys.argv[1])
def observe(event):
    global count
    if threading.current_thread().name not in ("MainThread", "checkpoint-writer"):
        return  # the sender's writes come when they come
    count += 1
    if count == at:
        with open("data/filler", "wb", buffering=0) as filler:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while filler.write(b"x" * size):
                        pass
                except OSError:
                    continue
files.observer = observe
sys.argv = ["kedro", "run", "--pipeline", "hpo", "--params", sys.argv[2]]
from kedro.framework.cli import main
main()
"""
MOMENTS = 50
IN_SHORT = (2, 21, 36)


@pytest.fixture(scope="module")
def with_room(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    """How many operations a run with room has, and what it ends with."""
    project = copy_project(tmp_path_factory.mktemp("room"))
    assert command(project, 0) == 0
    return int((project / "operations").read_text(encoding="utf-8")), outcome(project)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A project whose data stand on a file system of 64 MB."""
    project = copy_project(tmp_path)
    data = project / "data"
    data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(data)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let root mount a file system")
    yield project
    subprocess.run(["umount", "--lazy", str(data)], check=True)


@pytest.mark.parametrize(
    "moment", [pytest.param(i, marks=[] if i in IN_SHORT else pytest.mark.slow) for i in range(MOMENTS)]
)
def test_full_at_any_moment_it_says_so_and_goes_on_when_there_is_room(
    small_disk: Path, with_room: tuple[int, dict[str, Any]], moment: int
) -> None:
    """Exit code 3 with the report; the same command ends as the run that had room."""
    operations, expected = with_room
    at = 1 + round(moment * (operations - 1) / MOMENTS)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(at), PARAMS],
        cwd=small_disk,
        env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(small_disk / "src")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "Largest files" in done.stderr
    assert "the same command again" in done.stderr
    (small_disk / "data/filler").unlink()
    assert command(small_disk, 0) == 0
    found = outcome(small_disk)
    for key, value in expected.items():
        assert found[key] == value, key
