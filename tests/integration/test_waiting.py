"""How the threads of a run wait for each other: without spinning, and never seen in the weights."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from tests.integration.conftest import SMALL, copy_project
from tests.integration.servers import BIN

from thriftune.process import WAIT, WAITING

pytestmark = pytest.mark.integration
TWO_THREADS = SMALL.replace("training.threads=1", "training.threads=2")


def started(parent: Path, params: str, **waiting: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A `kedro run` as a user starts it, since what is looked at is read when a library is loaded."""
    parent.mkdir()
    project = copy_project(parent)
    plain = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [str(BIN / "kedro"), "run", "--pipelines", "train", "--params", params],
        cwd=project,
        env={**plain, **waiting, "OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return project, done


def spin_counts(said: str) -> set[str]:
    """What the OpenMP libraries of a process have read."""
    return set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", said))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device that is asked for is there")
def test_openmp_reads_our_choice_and_never_over_a_user_s(tmp_path: Path) -> None:
    """A run that is refused once torch is loaded, for its device."""
    for name, waiting in {WAIT["GOMP_SPINCOUNT"]: {}, "20000": {"GOMP_SPINCOUNT": "20000"}}.items():
        _, done = started(tmp_path / name, "training.device=cuda", **waiting)
        assert done.returncode == 2, done.stderr
        assert spin_counts(done.stderr) == {name}


@pytest.mark.slow
def test_how_threads_wait_is_not_seen_in_the_weights(tmp_path: Path) -> None:
    """Trained by two threads with our choice, and with a user's own."""
    weights = []
    for name, waiting in {WAIT["GOMP_SPINCOUNT"]: {}, "20000": {"GOMP_SPINCOUNT": "20000"}}.items():
        project, done = started(tmp_path / name, TWO_THREADS, **waiting)
        assert done.returncode == 0, done.stderr
        assert spin_counts(done.stderr) == {name}
        (manifest,) = project.glob("data/06_models/*/trials/*/checkpoints/epoch_0002/manifest.json")
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        weights.append(files["model.safetensors"]["sha256"])
    assert weights[0] == weights[1]
