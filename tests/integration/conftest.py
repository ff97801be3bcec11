"""A copy of the project in which `kedro run` and the commands are run as a user would."""

from __future__ import annotations

import atexit
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
from tests import processes
from tests.conftest import write_small_tables
from tests.databases import copy_mlflow_tables

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


def copy_project(parent: Path, *, mlflow_tables: bool = True) -> Path:
    """The project in a folder of its own, with small tables beside it.

    Args:
        mlflow_tables: Put an empty MLflow store into data, as an earlier run leaves it; else data is empty.
    """
    folder = parent / "project"
    shutil.copytree(_template(), folder)
    if mlflow_tables:
        copy_mlflow_tables(folder / "data/tracking")
    return folder


@cache
def _template() -> Path:
    """Make the copy that others are copied from, its modules compiled once for all programs."""
    folder = Path(tempfile.mkdtemp(prefix="thriftune-project-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("conf", "src"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for path in (folder / "conf" / "local").iterdir():
        path.unlink()
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    write_small_tables(folder)
    compileall.compile_dir(folder / "src", quiet=1)
    return folder


def environment(project: Path) -> dict[str, str]:
    """The environment in which a user of this copy of the project would work."""
    return {**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")}


def python(
    project: Path,
    program: str,
    *words: str,
    timeout: float = processes.TIMEOUT_SECONDS,
    real: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program in the project, in a process of its own; output as text, never raises."""
    command = [sys.executable, "-c", program, *words]
    return processes.run(command, project, environment(project), timeout, real=real)


def thriftune(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One of the project's own commands."""
    return python(project, "from thriftune.cli import main; main()", *words)


@pytest.fixture(autouse=True)
def _coverage_of_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    measured = request.node.get_closest_marker("measured") is not None
    with processes.coverage_measured() if measured else nullcontext():
        yield


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project."""
    return copy_project(tmp_path)


@pytest.fixture
def run(project: Path) -> Run:
    """Run a program of this environment in the project; output as text, never raises.

    `real=True` starts it as a user does, without the fork server.
    """

    def run_in_project(*words: str, real: bool = False) -> subprocess.CompletedProcess[str]:
        program = [str(processes.BIN / words[0]), *words[1:]]
        return processes.run(program, project, environment(project), real=real)

    return run_in_project


SMALL = (
    "corpus.source=files,corpus.files.posts=posts.csv,corpus.files.annotations=annotations.csv,"
    "study.name=small,study.trials=2,training.epochs=2,training.max_length=64,training.overlap=8,"
    "training.threads=1,evaluation.bootstrap_samples=20"
)
"""--params of a study that takes seconds."""
