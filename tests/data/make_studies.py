"""Make the archive of two studies that an earlier commit wrote, for tests/integration/test_formats.py.

    python -m tests.data.make_studies 96b34aa tests/data/studies_96b34aa.tar.xz

The commit's own code runs twice in a copy of its project, with the libraries of this environment: once to its
end, once until it is killed in the last epoch of the second trial. PORTABLE makes the arithmetic the same on
every x86-64 processor. An archive that is in the repository is never made again: it is what users have.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from tests.conftest import write_small_tables

FOLDER = Path("/srv/thriftune")
"""Where the studies are written: their records and MLflow's name absolute paths."""
PORTABLE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
}
"""The instructions that every processor has, for PyTorch, MKL and oneDNN: sums have one order everywhere."""
PARAMETERS = """\
corpus:
  source: files
  files: {posts: posts.csv, annotations: annotations.csv}
encoders:
  tiny:
    {vocabulary_size: 500, hidden_size: 32, layers: 1, attention_heads: 2, intermediate_size: 32, window: 64}
training: {epochs: 3, batch_size: 8, max_length: 64, overlap: 8, threads: 1, device: cpu}
study: {name: old, trials: 3}
search:
  startup_trials: 1
  space:
    training.learning_rate: {type: float, low: 0.005, high: 0.03, log: true}
    model.criteria_agent.loss: {type: categorical, choices: [bce, weighted_bce, focal]}
    model.head_dropout: {type: float, low: 0.0, high: 0.3}
storage: {max_total_size: 20MB}
evaluation: {bootstrap_samples: 20}
tracking: {log_every_steps: 1}
"""
KEPT = ("data", "conf/local/parameters.yml", "posts.csv", "annotations.csv")
# Killed before the n-th row of a journal; 0: never.
PROGRAM = """
import os, signal, sys, threading
from thriftune import files
count, at = 0, int(sys.argv[1])
def observe(event):
    global count
    if event.operation == "append" and event.path.name == "metrics.jsonl":
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
files.observer = observe
sys.argv = ["kedro", "run", "--pipelines", "hpo"]
from kedro.framework.cli import main
main()
"""
KILLED_AT = 60


def check_out(commit: str) -> None:
    """Put a project of the commit into FOLDER, so that plugins and imports find its own code first."""
    archive = subprocess.run(
        ["git", "archive", commit, "conf", "src", "pyproject.toml", ".telemetry"],
        stdout=subprocess.PIPE,
        check=True,
    )
    subprocess.run(["tar", "-x", "-C", str(FOLDER)], input=archive.stdout, check=True)
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    facts = FOLDER / "src" / f"thriftune-{project['version']}.dist-info"
    facts.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: thriftune\nVersion: {project['version']}\n"
    (facts / "METADATA").write_text(metadata, encoding="utf-8")
    points = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = [
        line
        for group, names in points.items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in names.items()))
    ]
    (facts / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (FOLDER / "conf/local/parameters.yml").write_text(PARAMETERS, encoding="utf-8")
    write_small_tables(FOLDER)


def run(kill_at: int) -> int:
    """Run the search and its evaluation; the exit code."""
    quiet = {"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env = {**os.environ, **PORTABLE, **quiet, "PYTHONPATH": str(FOLDER / "src"), "USER": "someone"}
    words = [sys.executable, "-c", PROGRAM, str(kill_at)]
    named = ["unshare", "--map-root-user", "--uts", "sh", "-c", 'hostname somewhere; exec "$@"', "sh", *words]
    return subprocess.run(named, cwd=FOLDER, env=env, check=False).returncode


def main() -> None:
    """Write the archive: `whole/` and `interrupted/`, each with its data folder and its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("archive", type=Path)
    options = parser.parse_args()
    if FOLDER.exists():
        sys.exit(f"{FOLDER} exists: remove it first")
    with tempfile.TemporaryDirectory() as made:
        for name, kill_at, expected in (("whole", 0, 0), ("interrupted", KILLED_AT, -signal.SIGKILL)):
            FOLDER.mkdir(parents=True)
            try:
                check_out(options.commit)
                code = run(kill_at)
                if code != expected:
                    sys.exit(f"the {name} study ended with {code}")
                for kept in KEPT:
                    target = Path(made) / name / kept
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(FOLDER / kept, target)
            finally:
                shutil.rmtree(FOLDER)
        with tarfile.open(options.archive, "w:xz") as archive:
            for name in ("whole", "interrupted"):
                archive.add(Path(made) / name, name)


if __name__ == "__main__":
    main()
