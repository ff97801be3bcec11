"""How the threads of a run wait for each other: without spinning, and never seen in the weights."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.integration.conftest import SMALL, copy_project
from tests.integration.servers import BIN

from thriftune.process import WAIT, WAITING

pytestmark = pytest.mark.integration
TWO_THREADS = SMALL.replace("training.threads=1", "training.threads=2")


def trained(parent: Path, **waiting: str) -> tuple[set[str], str]:
    """(the spin counts that OpenMP libraries of a `kedro run` have read, the hash of the trained weights)."""
    parent.mkdir()
    project = copy_project(parent)
    plain = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(  # a whole start: what is measured is read when a library is loaded
        [str(BIN / "kedro"), "run", "--pipelines", "train", "--params", TWO_THREADS],
        cwd=project,
        env={**plain, **waiting, "OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (manifest,) = project.glob("data/06_models/*/trials/*/checkpoints/epoch_0002/manifest.json")
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    return set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)), facts["files"]["model.safetensors"][
        "sha256"
    ]


def test_threads_of_a_run_do_not_spin_and_the_weights_do_not_tell(tmp_path: Path) -> None:
    """OpenMP has read our choice, and a user's own where there is one; the weights are the same."""
    ours, weights = trained(tmp_path / "ours")
    theirs, same = trained(tmp_path / "theirs", GOMP_SPINCOUNT="20000")
    assert (ours, theirs) == ({WAIT["GOMP_SPINCOUNT"]}, {"20000"})
    assert weights == same
