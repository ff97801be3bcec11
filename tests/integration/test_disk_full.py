"""A real file system of fixed size that another process fills in the middle of `kedro run`."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import copy_project, python, thriftune
from tests.integration.kills import PARAMS, command
from tests.integration.mounts import mount, mounting
from tests.integration.outcome import outcome

pytestmark = pytest.mark.integration

# Before the n-th of its operations of one kind the disk is full: to the last byte, or, where that
# operation writes, up to the middle of it. The sender's operations come when they come and do not count.
PROGRAM = """
import json, sys, threading
from pathlib import Path
from thriftune import files
kind, number = sys.argv[1], int(sys.argv[2])
seen, order = 0, []
def fill(room):
    with open("data/filler", "wb", buffering=0) as filler:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while filler.write(b"x" * size):
                    pass
            except OSError:
                continue
        filler.truncate(filler.tell() - room // 4096 * 4096)
def observe(event):
    global seen
    if threading.current_thread().name not in ("MainThread", "checkpoint-writer"):
        return
    current = f"{event.operation} {event.path.name}"
    order.append(current)
    seen += current == kind
    if current == kind and seen == number:
        fill(len(event.data) // 2)
files.observer = observe
sys.argv = ["kedro", "run", "--pipelines", "hpo", "--params", sys.argv[3]]
from kedro.framework.cli import main
try:
    main()
finally:
    if not number:
        Path("operations.json").write_text(json.dumps(order))
"""
NAMED = (
    "append train.jsonl",
    "rename tokens_train_",
    "write model.safetensors",
    "write optimizer.safetensors",
    "write state.json",
    "write manifest.json.tmp",
    "append metrics.jsonl",
    "optuna_add_trial small-81db8ebb",
    "optuna_tell small-81db8ebb",
    "rename epoch_0001",
    "rename epoch_0002",
    "write evaluation.json.tmp",
    "write predictions.jsonl.tmp",
    "write report.html.tmp",
)
"""How the kinds of operations begin that are hit at their first occurrence, whatever the even spread hits."""
MOMENTS = 50
PLACES = [f"first {start}" for start in NAMED]
PLACES += [f"{n + 1} of {MOMENTS - len(NAMED)} over the run" for n in range(MOMENTS - len(NAMED))]
IN_SHORT = ("first write model.safetensors", "first optuna_add_trial small-81db8ebb", "17 of 36 over the run")
TAKES_ROOM = ("create", "write", "mkdir", "append", "optuna_add_trial", "optuna_tell")


@dataclass(frozen=True)
class Moment:
    """The n-th operation of a kind, and the exit codes that are right after it: 0 where nothing of the
    study's own is written any more, either where it first makes room itself (a strip, a deletion), else 3."""

    kind: str
    number: int
    right: tuple[int, ...]


def moments(order: list[str]) -> list[Moment]:
    """One a named kind, and an even spread over the whole run."""
    named = [next(at for at, kind in enumerate(order) if kind.startswith(start)) for start in NAMED]
    spread = MOMENTS - len(named)
    places = named + [round(i * (len(order) - 1) / spread) for i in range(spread)]
    occurrence: Counter[str] = Counter()
    numbers = []
    for kind in order:
        occurrence[kind] += 1
        numbers.append(occurrence[kind])
    return [Moment(order[i], numbers[i], _right(order[i:])) for i in places]


def _right(rest: list[str]) -> tuple[int, ...]:
    before_a_write = list(takewhile(lambda kind: kind.split()[0] not in TAKES_ROOM, rest))
    if len(before_a_write) == len(rest):
        return (0,)
    return (0, 3) if any(kind.startswith("unlink") for kind in before_a_write) else (3,)


def run(project: Path, kind: str = "", number: int = 0) -> subprocess.CompletedProcess[str]:
    return python(project, PROGRAM, kind, str(number), PARAMS)


@pytest.fixture(scope="module")
def with_room(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Moment], dict[str, Any]]:
    """The moments of a run with room, and what it ends with."""
    project = copy_project(tmp_path_factory.mktemp("room"), mlflow_tables=False)
    done = run(project)
    assert done.returncode == 0, done.stderr
    return moments(json.loads((project / "operations.json").read_text(encoding="utf-8"))), outcome(project)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A project whose data stand on a file system of 64 MB."""
    project = copy_project(tmp_path, mlflow_tables=False)
    data = project / "data"
    data.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(data))
    yield project
    subprocess.run(["umount", "--lazy", str(data)], check=True)


@mounting
@pytest.mark.parametrize(
    "place", [pytest.param(name, marks=[] if name in IN_SHORT else pytest.mark.slow) for name in PLACES]
)
def test_full_at_any_moment_it_says_so_and_goes_on_when_there_is_room(
    small_disk: Path, with_room: tuple[list[Moment], dict[str, Any]], place: str
) -> None:
    """Exit code 3 with the report, what was committed is sound; the same command ends as the run that had
    room. Where only MLflow's store is hit, the run ends as if nothing had been."""
    found, expected = with_room
    moment = found[PLACES.index(place)]
    done = run(small_disk, moment.kind, moment.number)
    assert (small_disk / "data/filler").exists(), f"{moment} never came"
    assert "Traceback" not in done.stderr, moment
    assert done.returncode in moment.right, (moment, done.stderr)
    if done.returncode == 3:
        assert "Largest files" in done.stderr
        assert "the same command again" in done.stderr
    (small_disk / "data/filler").unlink()
    verified = thriftune(small_disk, "storage", "verify")
    assert verified.returncode == 0, (moment, verified.stdout)
    assert command(small_disk, 0) == 0
    after = outcome(small_disk)
    for key, value in expected.items():
        assert after[key] == value, (moment, key)


# In the middle of an epoch another process leaves 4 MB of 64. The step lasts until the monitor has deleted.
LOW_DISK = """
import subprocess, sys, threading, time
from thriftune import files
pruned, steps, at = threading.Event(), 0, int(sys.argv[1])
def observe(event):
    global steps
    thread = threading.current_thread().name
    if thread == "disk-monitor" and event.operation == "rename" and ".tmp-deleted" in event.path.name:
        pruned.set()
    if thread == "MainThread" and event.operation == "append":
        steps += 1
        if steps == at:
            filler = "import os, sys; os.posix_fallocate(os.open('data/filler', 66), 0, int(sys.argv[1]))"
            free = __import__("shutil").disk_usage("data").free
            subprocess.run([sys.executable, "-c", filler, str(free - 4_000_000)], check=True)
            started = time.monotonic()
            assert pruned.wait(30), "the monitor did not prune"
            print(f"pruned after {time.monotonic() - started:.2f} s", flush=True)
            assert time.monotonic() - started < 5
files.observer = observe
sys.argv = ["kedro", "run", "--pipelines", "train", "--params", sys.argv[2]]
from kedro.framework.cli import main
main()
"""


@mounting
def test_the_monitor_prunes_while_training_computes(small_disk: Path) -> None:
    """Another process eats the free space in the middle of an epoch: within 5 s what is unprotected is gone,
    and the training goes on to its end."""
    params = PARAMS.replace("training.epochs=2", "training.epochs=5")
    params += ",storage.keep_last_n=3,storage.keep_best_k=3"
    per_epoch = 4 + 2  # journal records: a row a step, validation, the machine's
    at = 1 + 3 * per_epoch + 3
    done = python(small_disk, LOW_DISK, str(at), params)
    assert done.returncode == 0, done.stderr
    assert "pruned after" in done.stdout
    assert "free disk is under the watermark" in " ".join((done.stdout + done.stderr).split())
    (study,) = (small_disk / "data/06_models").glob("study_*")
    rows = [json.loads(line) for line in next(study.glob("trials/*/metrics.jsonl")).read_text().splitlines()]
    assert {row["step"] for row in rows if row.get("key") == "validation/joint.f1_micro"} == {1, 2, 3, 4, 5}


@mounting
def test_an_unmounted_root_is_recognised(tmp_path: Path) -> None:
    """The volume goes, the mount point is an empty folder: exit code 2, nothing is made there. Mounted again,
    the study is what it was."""
    project, volume = copy_project(tmp_path), tmp_path / "volume"
    root = project / "data/06_models"
    root.mkdir(parents=True)
    volume.mkdir()
    mount("--bind", str(volume), str(root))
    try:
        assert command(project, 0) == 0
        before = outcome(project)
    finally:
        subprocess.run(["umount", str(root)], check=True)
    done = run(project)
    assert done.returncode == 2, done.stderr
    assert "mounted?" in done.stderr
    assert "study delete small" in done.stderr
    assert list(root.iterdir()) == []
    mount("--bind", str(volume), str(root))
    try:
        assert command(project, 0) == 0
        assert outcome(project) == before
    finally:
        subprocess.run(["umount", str(root)], check=True)
