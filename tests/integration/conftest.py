"""A copy of the project in which `kedro run` and the commands are run as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import write_small_tables

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


def copy_project(parent: Path) -> Path:
    """The project in a folder of its own, with nothing in data and small tables beside it."""
    folder = parent / "project"
    folder.mkdir()
    for name in ("conf", "src"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for path in (folder / "conf" / "local").iterdir():
        path.unlink()
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    write_small_tables(folder)
    return folder


def python(
    project: Path, program: str, *words: str, timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    """Run a program in the project, in a process of its own; output as text, never raises."""
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def thriftune(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One of the project's own commands."""
    return python(project, "from thriftune.cli import main; main()", *words)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project."""
    return copy_project(tmp_path)


@pytest.fixture
def run(project: Path) -> Run:
    """Run a program of this environment in the project; output as text, never raises."""

    def run_in_project(*words: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).parent / words[0]
        environment = {**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")}
        return subprocess.run(
            [str(program), *words[1:]],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    return run_in_project


SMALL = (
    "corpus.source=files,corpus.files.posts=posts.csv,corpus.files.annotations=annotations.csv,"
    "study.name=small,study.trials=2,training.epochs=2,training.max_length=64,training.overlap=8,"
    "training.threads=1,evaluation.bootstrap_samples=20"
)
"""--params of a study that takes seconds."""
