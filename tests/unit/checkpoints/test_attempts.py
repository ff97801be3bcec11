"""What an attempt that was taken over commits does not count; what an interrupted one needs is kept."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import make_checkpoint

from thriftune import files
from thriftune.checkpoints import budget, disk
from thriftune.checkpoints.attempts import FOLDER, read_attempts
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.disk import Disk
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import StorageConfig
from thriftune.errors import OutOfStorageError, TakenOverError
from thriftune.study.storage import open_store

pytestmark = pytest.mark.unit


def worker(folder: Path, **storage: Any) -> CheckpointStore:
    """A store as another process has it."""
    return open_store(folder, "study-00000000", StorageConfig(**storage))


def of_trial(trial: int, epoch: int, value: float = 0.5, attempt: int = 1) -> Checkpoint:
    made = make_checkpoint(epoch, value)
    return replace(made, trial=trial, attempt=attempt)


def kept(store: CheckpointStore) -> list[tuple[int, int, int, bool]]:
    """(trial, epoch, attempt, resumable) of what counts."""
    return [
        (e.manifest.trial, e.manifest.epoch, e.manifest.attempt, e.manifest.resumable)
        for e in store.entries()
    ]


def test_a_worker_that_was_taken_over_commits_nothing_more(tmp_path: Path) -> None:
    """Its save raises and leaves nothing; what the other makes of the trial stands."""
    first = worker(tmp_path)
    first.trials.begin(0)
    first.save(of_trial(0, 1))
    second = worker(tmp_path)
    second.trials.begin(0, second.entries()[0], attempt=2)
    with pytest.raises(TakenOverError, match="trial 0 was taken over"):
        first.save(of_trial(0, 2))
    assert kept(second) == [(0, 1, 1, True)]
    second.save(of_trial(0, 2, attempt=2, value=0.6))
    assert kept(second) == [(0, 2, 2, True)]


@pytest.mark.parametrize("over", [False, True], ids=["while it runs", "once it is over"])
def test_what_it_committed_all_the_same_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    """A process that was stopped between its last look and the rename: void while the trial runs and when it
    is over, though its value is the best; the next start deletes it."""
    first, second = worker(tmp_path), worker(tmp_path)
    first.trials.begin(0)
    first.save(of_trial(0, 1))

    def take_over(event: files.Event) -> None:
        if event.operation == "rename" and event.path.name == "epoch_0003":
            monkeypatch.setattr(files, "observer", None)
            second.trials.begin(0, second.entries()[0], attempt=2)
            if over:
                second.save(of_trial(0, 2, attempt=2, value=0.6))
                second.trials.finish(0)

    monkeypatch.setattr(files, "observer", take_over)
    with first.owned(lambda: None):
        first.save(of_trial(0, 3, value=0.9))
    if not over:
        assert kept(second) == [(0, 1, 1, True)]
        second.save(of_trial(0, 2, attempt=2, value=0.6))
        second.trials.finish(0)
    assert kept(second) == [(0, 2, 2, False)]
    worker(tmp_path).trials.recover_all()
    assert [path.name for path in tmp_path.glob("trials/*/checkpoints/*")] == ["epoch_0002"]


def test_an_interrupted_trial_keeps_what_it_goes_on_from(tmp_path: Path) -> None:
    """The end of another trial, in another process, deletes nothing of it; its own end does."""
    first = worker(tmp_path)
    first.trials.begin(0)
    first.save(of_trial(0, 1, value=0.1))
    second = worker(tmp_path)
    second.trials.begin(1)
    second.save(of_trial(1, 1, value=0.9))
    second.trials.finish(1)
    assert kept(second) == [(0, 1, 1, True), (1, 1, 1, False)]
    assert second.trials.running() == {0}
    worker(tmp_path).trials.finish(0)
    assert kept(second) == [(1, 1, 1, False)]
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_damaged_note_protects(tmp_path: Path) -> None:
    """It is not known any more what counts: everything does, and the newest is kept whole."""
    store = worker(tmp_path)
    store.trials.begin(0)
    store.save(of_trial(0, 1))
    (tmp_path / FOLDER / "0000.json").write_bytes(b"{")
    assert read_attempts(tmp_path)[0].running
    assert kept(store) == [(0, 1, 1, True)]


def test_writes_in_flight_elsewhere_count_against_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers that share a budget for one checkpoint more: who comes second, while the first still
    writes, is refused before it writes; without the note both would have gone ahead."""
    monkeypatch.setattr(disk, "disk_of", lambda path: Disk(10**12, 10**12))
    monkeypatch.setattr(budget, "reserve_bytes", lambda budget: 0)
    needed = budget.estimate_bytes(of_trial(0, 1))
    storage = {"max_total_size": int(needed * 1.5) + 4096, "overlap": False}
    first, second = worker(tmp_path, **storage), worker(tmp_path, **storage)
    for store, trial in ((first, 0), (second, 1)):
        store.trials.begin(trial)
    refused: list[str] = []

    def meanwhile(event: files.Event) -> None:
        if event.operation == "create" and event.path.name == "model.safetensors" and not refused:
            refused.append("")
            with pytest.raises(OutOfStorageError) as caught:
                second.save(of_trial(1, 1))
            refused.append(str(caught.value))

    monkeypatch.setattr(files, "observer", meanwhile)
    with first.owned(lambda: None, nullcontext), second.owned(lambda: None, nullcontext):
        first.save(of_trial(0, 1))
    assert "the budget has no room" in refused[1]
    monkeypatch.setattr(files, "observer", None)
    assert kept(first) == [(0, 1, 1, True)]
    assert read_attempts(tmp_path)[0].reserved_bytes == 0
