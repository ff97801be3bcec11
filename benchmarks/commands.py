"""The whole command: how soon it is at its first node, how soon a killed study takes its next step, and what
commands take that only read.

    python -m benchmarks.commands [--pairs 5] [--hidden 768] [--layers 12] [--studies 10]

startup is measured against an empty project with Kedro and kedro-mlflow in the same run, resume against
reading and hashing the checkpoint that it resumes from, plus 10 s, and each reading command, to
the end of its process, against the seconds that it may take.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import yaml

from benchmarks.beside_load import measured_rows as beside_load
from benchmarks.rows import Row, at_most, write
from benchmarks.storage import read_and_hash

ROOT = Path(__file__).parents[1]
FREE_SECONDS, OF_READING = 10.0, 1.2

READING = {"study list": 1.5, "study show study-0": 1.5, "storage status": 1.5, "storage forecast": 2.5}
"""Seconds that each command may take; a forecast builds a model's shape with torch."""
COMMAND = "from thriftune.cli import main; main()"
SMALL = {
    "corpus": {"source": "files", "files": {"posts": "posts.csv", "annotations": "annotations.csv"}},
    "training": {"epochs": 2, "max_length": 64, "overlap": 8},
    "evaluation": {"bootstrap_samples": 20},
}
"""Parameters of a study that takes seconds, but for its name and trials."""

# The first node prints the time in place of running.
TO_FIRST_NODE = """
import os, sys, time
from kedro.pipeline.node import Node
def run(node, *words, **more):
    print("at", time.time(), flush=True)
    os._exit(0)
Node.run = run
sys.argv = ["kedro", "run", *sys.argv[1:]]
from kedro.framework.cli import main
main()
"""
# With "kill": killed at the first step after a commit; without, the time is told where the first step begins.
TO_STEP = """
import os, signal, sys, time
from thriftune import files
committed = False
def observe(event):
    global committed
    committed |= event.operation == "rename" and event.path.name == "epoch_0001"
    if committed and event.operation == "append" and b"train/loss" in event.data:
        os.kill(os.getpid(), signal.SIGKILL)
def tell(*_):
    print("at", time.time(), flush=True)
    os._exit(0)
if sys.argv[1:] == ["kill"]:
    files.observer = observe
else:
    from thriftune.training import loop
    loop._accumulate = tell
sys.argv = ["kedro", "run", "--pipelines", "train"]
from kedro.framework.cli import main
main()
"""
# What is imported on the way by whatever is built of these libraries.
IMPORTS = """
import time
import kedro.framework.cli, kedro_mlflow.framework.hooks, mlflow.store.tracking.sqlalchemy_store
import torch
from transformers import AutoTokenizer, BertModel
print("at", time.time(), flush=True)
"""
EMPTY = {
    "pyproject.toml": '[tool.kedro]\npackage_name = "empty"\nproject_name = "Empty"\nsource_dir = "src"\n'
    'kedro_init_version = "1.7.0"\n',
    "src/empty/__init__.py": "",
    "src/empty/settings.py": "",
    "src/empty/pipeline_registry.py": "from kedro.pipeline import Pipeline, node\n\n\n"
    "def register_pipelines():\n"
    '    return {"__default__": Pipeline([node(lambda: 1, None, "one", name="one")])}\n',
    "conf/base/catalog.yml": "",
    "conf/base/parameters.yml": "",
    "conf/base/mlflow.yml": "server:\n  mlflow_tracking_uri: sqlite:///mlflow.db\n",
    "conf/local/.gitkeep": "",
}


def seconds_to(program: str, project: Path, *words: str) -> float:
    """Seconds from the start of a program to the instant that it prints."""
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("at "):
            return float(line.split()[1]) - started
    raise SystemExit(f"no instant was printed:\n{done.stdout}\n{done.stderr}")


def copy_of_this(folder: Path, parameters: dict[str, object]) -> Path:
    """This project without its data."""
    for name in ("conf", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    local = folder / "conf" / "local" / "parameters.yml"
    local.write_text(yaml.safe_dump(parameters), encoding="utf-8")
    return folder


def empty_project(folder: Path) -> Path:
    """Kedro and kedro-mlflow, one node."""
    for name, text in EMPTY.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def startup(folder: Path, pairs: int) -> Row:
    """`kedro run --pipeline hpo` to its first node; both once before, so that their databases are there."""
    ours, empty = copy_of_this(folder / "ours", {}), empty_project(folder / "empty")
    took: dict[str, list[float]] = {"ours": [], "empty": []}
    for pair in range(pairs + 1):
        for name, project, words in (("ours", ours, ["--pipelines", "hpo"]), ("empty", empty, [])):
            seconds = seconds_to(TO_FIRST_NODE, project, *words)
            if pair:
                took[name].append(seconds)
    return at_most("startup", statistics.median(took["ours"]), "s", statistics.median(took["empty"]), 1.5)


def resume(folder: Path, hidden: int, layers: int) -> Row:
    """A trial killed in its second epoch, to its first resumed step: import, load, verify."""
    big = {
        "kind": "config",
        "vocabulary_size": 4000,
        "hidden_size": hidden,
        "layers": layers,
        "attention_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
        "window": 64,
        "dropout": 0.1,
    }
    training = {"epochs": 3, "max_length": 64, "overlap": 8, "batch_size": 1, "accumulation": 1}
    corpus = {"source": "files", "files": {"posts": "posts.csv", "annotations": "annotations.csv"}}
    project = copy_of_this(
        folder / "resume",
        {
            "encoder": "big",
            "encoders": {"big": big},
            "corpus": corpus,
            "training": training,
            "tracking": {"log_every_steps": 1},
            "storage": {"max_total_size": "100GB", "free_disk_watermark": 0.0},
        },
    )
    from tests.conftest import write_small_tables

    write_small_tables(project, posts=40)
    killed = subprocess.run(
        [sys.executable, "-c", TO_STEP, "kill"],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    if killed.returncode != -signal.SIGKILL:
        raise SystemExit(f"it was not killed:\n{killed.stdout}\n{killed.stderr}")
    (manifest,) = project.glob("data/06_models/*/trials/*/checkpoints/epoch_0001/manifest.json")
    size = json.loads(manifest.read_text(encoding="utf-8"))["files"]["model.safetensors"]["size"]
    started = time.perf_counter()
    read_and_hash(manifest.parent)
    reading = time.perf_counter() - started
    took = seconds_to(TO_STEP, project)
    importing = seconds_to(IMPORTS, project)
    click.echo(
        f"resume: {took:.1f} s to the first resumed step; {reading:.1f} s to read and hash its checkpoint "
        f"(model {size / 1e6:.0f} MB); importing Kedro, MLflow, torch and transformers alone takes "
        f"{importing:.1f} s"
    )
    return at_most("resume", took, "s", OF_READING * reading + FREE_SECONDS, 1.0)


def finish(project: Path, *words: str) -> float:
    """Seconds from the start of a Python program to its end; SystemExit where it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{words} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def reading_commands(folder: Path, studies: int, repeats: int) -> list[Row]:
    """The commands that only read, on so many finished studies of two trials each: the median of each."""
    project = copy_of_this(folder / "reading", {**SMALL, "study": {"trials": 2}})
    from tests.conftest import write_small_tables

    write_small_tables(project, posts=40)
    for number in range(studies):
        finish(project, "-m", "kedro", "run", "--params", f"study.name=study-{number}")
    took: dict[str, list[float]] = {command: [] for command in READING}
    for _ in range(repeats):
        for command, seconds in took.items():
            seconds.append(finish(project, "-c", COMMAND, *command.split()))
    names = {command: "/".join(["reading_command", *command.split()[:2]]) for command in READING}
    return [
        at_most(names[command], statistics.median(seconds), "s", READING[command], 1.0)
        for command, seconds in took.items()
    ]


def main() -> None:
    """Measure, print, and add the rows to build/bench.json; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--studies", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        rows = [
            startup(Path(folder), options.pairs),
            resume(Path(folder), options.hidden, options.layers),
            *reading_commands(Path(folder), options.studies, options.pairs),
        ]
    rows += beside_load(repeats=options.pairs)
    write(rows)
    raise SystemExit(0 if all(row.ok is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
