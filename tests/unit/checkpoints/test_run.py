"""A run of a store in a training loop of one's own: owned, resumed, finished."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from thriftune import files
from thriftune.checkpoints import (
    DEFAULT_RULES,
    Budget,
    Checkpoint,
    CheckpointStore,
    LoadedCheckpoint,
    RetentionPolicy,
    Run,
    Wish,
)
from thriftune.checkpoints.manifest import MODEL, OPTIMIZER
from thriftune.checkpoints.retention import CheckpointInfo, Pressure, Tier
from thriftune.errors import ConfigError, OutOfStorageError, RefusedError

pytestmark = pytest.mark.unit


def store_in(folder: Path, policy: RetentionPolicy | None = None) -> CheckpointStore:
    return CheckpointStore(folder, policy or RetentionPolicy(), Budget("50MB", free_disk_watermark=0.0))


def checkpoint(epoch: int, value: float = 0.5, size: int = 8) -> Checkpoint:
    weights = torch.full((size,), float(epoch))
    return Checkpoint(
        epoch=epoch,
        step=10 * epoch,
        value=value,
        model={"weight": weights},
        optimizer={"weight/exp_avg": weights},
        state={"seed": epoch},
    )


class InterruptError(Exception):
    """Ends a block as a crash would."""


def interrupt(run: Run, *epochs: int) -> None:
    """Some epochs of a run, then its end as a crash makes it."""
    with suppress(InterruptError), run:
        run.newest()
        for epoch in epochs:
            run.submit(checkpoint(epoch, value=1 / epoch))
        raise InterruptError


def test_the_lines_of_the_front_door_run(tmp_path: Path) -> None:
    """Five lines of a training loop of one's own: the best is loaded, and only the best is kept."""
    store = CheckpointStore(tmp_path / "mine", RetentionPolicy(keep_last=1, keep_best=1), Budget("10GB"))
    with store.run("lr-3e-5") as run:
        assert run.newest() is None
        for epoch, value in ((1, 0.2), (2, 0.9), (3, 0.4)):
            run.submit(checkpoint(epoch, value))
    best = store.best()
    assert best is not None
    loaded = best.load()
    assert (loaded.epoch, loaded.step, best.value) == (2, 20, 0.9)
    assert loaded.model["weight"].tolist() == [2.0] * 8
    assert [(entry.epoch, entry.manifest.resumable) for entry in store.entries()] == [(2, False)]
    assert best.manifest.study == "mine"
    assert best.path.parents[1].name == "trial_0000_lr-3e-5"


def test_an_interrupted_run_resumes_where_it_was(tmp_path: Path) -> None:
    """Whatever another run does meanwhile, what it resumes from is kept; its end is remembered."""
    interrupt(store_in(tmp_path).run("a"), 1, 2)
    store = store_in(tmp_path)
    with store.run("b") as other:
        other.save(checkpoint(1, value=5.0))
    with store.run("a") as run:
        start = run.newest()
        assert start is not None
        assert (run.number, run.attempt, run.was_finished) == (0, 2, False)
        assert (start.epoch, start.state, start.optimizer["weight/exp_avg"][0]) == (2, {"seed": 2}, 2.0)
        run.submit(checkpoint(3))
    with store.run("a") as again:
        assert again.was_finished
        assert again.newest() is None


def test_what_a_dead_process_left_is_recovered(tmp_path: Path) -> None:
    """Its half-written checkpoint goes, its lock is free, its newest damaged checkpoint is set aside."""
    first = store_in(tmp_path, RetentionPolicy(keep_last=2))
    if (pid := os.fork()) == 0:
        try:
            with first.run("a") as run:
                run.save(checkpoint(1, 0.9))
                run.save(checkpoint(2, 0.1))
                (tmp_path / "trials/trial_0000_a/checkpoints/.tmp-epoch_0003").mkdir()
                os._exit(9)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    second = store_in(tmp_path, RetentionPolicy(keep_last=2))
    (second.entries()[-1].path / OPTIMIZER).write_bytes(b"damaged")
    with second.run("a") as run:
        start = run.newest()
        assert isinstance(start, LoadedCheckpoint)
        assert start.epoch == 1
        names = sorted(path.name for path in start.entry.path.parent.iterdir())
        assert names[0] == "epoch_0001"
        assert names[1].startswith("quarantine-epoch_0002")
        assert len(names) == 2
        run.save(checkpoint(2, 0.1))
        assert [entry.manifest.resumable for entry in second.entries()] == [True, True]


def test_tensors_may_change_once_submit_has_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is written while training continues."""
    go = threading.Event()

    def block(event: files.Event) -> None:
        if event.operation == "create" and event.path.name == MODEL:
            assert go.wait(30)

    store, live = store_in(tmp_path), checkpoint(1)
    with store.run("a") as run:
        monkeypatch.setattr(files, "observer", block)
        receipt = run.submit(live)
        assert not receipt.done()
        live.model["weight"].fill_(-1)
        go.set()
        receipt.result(30)
        newest = run.newest()
    assert newest is not None
    assert newest.model["weight"][0] == 1


@pytest.mark.parametrize("where", ["the next submit", "the end"])
def test_a_failed_write_is_raised_in_the_loop(tmp_path: Path, where: str) -> None:
    """At the next checkpoint, or at the end of the block; the run can be resumed from the one before."""
    store = CheckpointStore(tmp_path, RetentionPolicy(), Budget("700kB", free_disk_watermark=0.0))
    reached = []

    def train() -> None:
        with store.run("a") as run:
            run.submit(checkpoint(1))
            run.submit(checkpoint(2, size=200_000))
            if where == "the next submit":
                run.submit(checkpoint(3))
            reached.append("the end")

    with pytest.raises(OutOfStorageError, match="the budget has no room"):
        train()
    assert reached == ([] if where == "the next submit" else ["the end"])
    with store.run("a") as again:
        start = again.newest()
    assert start is not None
    assert start.epoch == 1


def test_two_stores_of_one_folder_know_of_each_other_through_the_folder(tmp_path: Path) -> None:
    """In one process: a run has one owner, other runs go on beside it, and what is kept is planned from what
    both are doing."""
    one, other = store_in(tmp_path), store_in(tmp_path)
    with one.run("a") as run:
        run.save(checkpoint(1, value=0.1))
        with pytest.raises(RefusedError, match="the run 'a' is already running"), other.run("a"):
            pytest.fail("two stores had one run")
        with pytest.raises(RefusedError, match="runs trial 0 already"), one.run("b"):
            pytest.fail("one store had two runs")
        with other.run("b") as beside:
            assert (run.number, beside.number) == (0, 1)
            beside.save(checkpoint(1, value=0.9))
        assert [(e.manifest.trial, e.manifest.resumable) for e in one.entries()] == [(0, True), (1, False)]
        assert one.trials.running() == other.trials.running() == {0}
    assert [entry.manifest.trial for entry in other.entries()] == [1]


def test_two_stores_plan_and_commit_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one renames a checkpoint to its place, the other waits."""
    one, other = store_in(tmp_path), store_in(tmp_path)
    seen: list[str] = []
    waiting = threading.Thread(target=lambda: (other.trials.recover_all(), seen.append("other")))

    def note(event: files.Event) -> None:
        if event.operation == "rename" and event.path.name == "epoch_0001" and not waiting.is_alive():
            waiting.start()
            waiting.join(0.3)
            seen.append("one")

    with one.run("a") as run:
        monkeypatch.setattr(files, "observer", note)
        run.save(checkpoint(1))
        monkeypatch.setattr(files, "observer", None)
        waiting.join(30)
    assert seen == ["one", "other"]


def test_the_room_of_a_dead_run_s_write_is_free(tmp_path: Path) -> None:
    """A process that died while it wrote had reserved its bytes; nobody waits for them."""
    store = CheckpointStore(tmp_path, RetentionPolicy(), Budget(1_200_000, free_disk_watermark=0.0))
    size = 90_000  # of which the budget holds one with its optimizer
    large = checkpoint(1, size=size)
    if (pid := os.fork()) == 0:
        files.observer = lambda event: os._exit(9) if event.path.name == MODEL else None
        try:
            with store.run("a") as run:
                run.save(large)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    with store.run("b") as run:
        run.submit(large).result(30)


def test_a_trial_is_known_by_its_number(tmp_path: Path) -> None:
    """Its folder is found again."""
    store = store_in(tmp_path)
    for epoch in (1, 2):
        interrupt(store.trial(7), epoch)
    assert [(entry.manifest.trial, entry.epoch) for entry in store.entries()] == [(7, 1), (7, 2)]
    with store.run("new") as run:
        assert run.number == 8


def test_a_rule_of_one_s_own_joins_the_others(tmp_path: Path) -> None:
    """The first epoch of each run is kept as a model, after the run has ended too."""

    def first(checkpoints: list[CheckpointInfo], policy: RetentionPolicy, pressure: Pressure) -> list[Wish]:
        return [
            Wish(each.key, False, Tier.OF_STUDY, "first epoch") for each in checkpoints if each.epoch == 1
        ]

    store = store_in(tmp_path, RetentionPolicy(rules=[*DEFAULT_RULES, first]))
    with store.run("a") as run:
        for epoch, value in ((1, 0.1), (2, 0.2), (3, 0.9)):
            run.save(checkpoint(epoch, value))
    assert [entry.epoch for entry in store.entries()] == [1, 3]
    assert [why for _, why in store.explain()] == ["first epoch", "the study's best"]


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "a b", "x" * 101])
def test_a_run_s_name_is_a_folder_s(tmp_path: Path, name: str) -> None:
    """What could lead out of the store is refused before anything is made."""
    with pytest.raises(ConfigError, match="a run is named by"):
        store_in(tmp_path).run(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Budget("10 apples"), "expected a size such as 10GB"),
        (lambda: Budget(0), "a size over 0"),
        (lambda: Budget("1GB", free_disk_watermark=1.0), "free_disk_watermark"),
        (lambda: RetentionPolicy(keep_last=0), "keep_last must be 1 or more"),
    ],
)
def test_a_policy_or_budget_that_keeps_nothing_is_refused(build: object, said: str) -> None:
    """When it is made, not at the first save."""
    assert callable(build)
    with pytest.raises(ConfigError, match=said):
        build()


PROGRAM = """
import sys
from thriftune.checkpoints import {names}
store = CheckpointStore({folder!r}, RetentionPolicy(), Budget("10GB"))
{deed}
print(sorted({{name.partition(".")[0] for name in sys.modules}} & set({heavy!r})))
"""
HEAVY = ("kedro", "mlflow", "optuna", "transformers", "pandas", "datasets", "torch")


@pytest.mark.parametrize(
    ("deed", "loaded"),
    [
        ("store.best().verify(); store.explain(); repr(store)", []),
        (
            "with store.run('b') as run: run.submit(Checkpoint(1, 1, dict(store.best().load().model)))",
            ["torch"],
        ),
    ],
    ids=["listing and verifying", "saving and loading"],
)
def test_the_front_door_loads_little(tmp_path: Path, deed: str, loaded: list[str]) -> None:
    """In a fresh interpreter: no torch before the first tensor, never the rest of the product."""
    with store_in(tmp_path).run("a") as run:
        run.save(checkpoint(1))
    names = "Budget, Checkpoint, CheckpointStore, DEFAULT_RULES, Receipt, RetentionPolicy, Run"
    program = PROGRAM.format(names=names, folder=str(tmp_path), deed=deed, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == (str(loaded), 0), done.stderr
