"""Saving beside training: one write in flight, its failure seen."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import make_checkpoint, newest_valid
from tests.support.stores import SIGNATURE, store_at

from thriftune import files
from thriftune.checkpoints import budget, disk, retention
from thriftune.checkpoints.attempts import Attempt, write_attempt
from thriftune.checkpoints.budget import Budget
from thriftune.checkpoints.checkpoint import Checkpoint, Receipt
from thriftune.checkpoints.manifest import MODEL, OPTIMIZER
from thriftune.checkpoints.monitor import DiskMonitor
from thriftune.checkpoints.retention import Plan, RetentionPolicy
from thriftune.checkpoints.store import CheckpointStore
from thriftune.errors import OutOfStorageError, StudyError, TakenOverError
from thriftune.training import snapshot
from thriftune.training.snapshot import CONTROL_GROUPS, Snapshots, available_memory

pytestmark = pytest.mark.unit


def detached(epoch: int, value: float = 0.5) -> Checkpoint:
    return replace(make_checkpoint(epoch, value), detached=True, receipt=Receipt(awaited=True))


def test_training_goes_on_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel_bytes: int
) -> None:
    """submit returns before the write; a second one waits for it; wait() ends with the commit."""
    go = threading.Event()

    def block(event: files.Event) -> None:
        if event.operation == "create" and event.path.name == MODEL:
            assert go.wait(30)

    monkeypatch.setattr(files, "observer", block)
    store = store_at(tmp_path, parallel_bytes)
    first, second = detached(1), detached(2)
    store.submit(first)
    first.receipt.check()
    assert store.entries() == []
    threading.Timer(0.2, go.set).start()
    store.submit(second)
    assert [entry.manifest.epoch for entry in store.entries()][:1] == [1]
    second.receipt.wait()
    assert [entry.manifest.epoch for entry in store.entries()][-1] == 2


def test_live_tensors_are_written_before_submit_returns(tmp_path: Path, parallel_bytes: int) -> None:
    """What is not detached may change at the next step."""
    store, checkpoint = store_at(tmp_path, parallel_bytes), make_checkpoint()
    store.submit(checkpoint)
    checkpoint.model["weight"].fill_(-1)
    loaded = newest_valid(store, SIGNATURE)
    assert loaded is not None
    assert float(loaded.model["weight"][0]) != -1


def test_a_failed_write_is_raised_where_it_is_awaited_or_else_at_once(tmp_path: Path) -> None:
    """In the background: from check(). With nobody waiting: from submit."""
    small = store_at(tmp_path, max_total_size=200_000)
    awaited = detached(1)
    small.submit(awaited)
    with pytest.raises(OutOfStorageError):
        awaited.receipt.wait()
    with pytest.raises(OutOfStorageError):
        awaited.receipt.check()
    with pytest.raises(OutOfStorageError):
        small.submit(make_checkpoint(1))


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER])
def test_an_error_in_one_of_two_files_fails_the_whole_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel_bytes: int, name: str
) -> None:
    """Whichever it is in: the receipt has it, nothing is committed, and the next save is."""
    store, first = store_at(tmp_path, parallel_bytes), detached(1)

    def fail(event: files.Event) -> None:
        if event.operation == "fsync" and event.path.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(event.path))

    monkeypatch.setattr(files, "observer", fail)
    store.submit(first)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        first.receipt.wait()
    assert store.entries() == []
    assert not list(tmp_path.rglob(".tmp-*"))
    monkeypatch.setattr(files, "observer", None)
    store.save(make_checkpoint(1))
    assert len(store.entries()) == 1


def test_snapshots_are_copies_in_buffers_that_are_used_again() -> None:
    """The live tensor changes, the copy does not; the next snapshot allocates nothing."""
    live = {"weight": torch.ones(3)}
    snapshots = Snapshots(overlap=True)
    model, _, copied = snapshots.take(live, {})
    assert copied
    live["weight"].add_(1)
    assert model["weight"].tolist() == [1, 1, 1]
    again, _, _ = snapshots.take(live, {})
    assert again["weight"].tolist() == [2, 2, 2]
    assert again["weight"].data_ptr() == model["weight"].data_ptr()
    assert Snapshots(overlap=False).take(live, {})[0] is live


def test_overlap_turns_itself_off_where_the_copy_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, once, and hands on the live tensors."""
    monkeypatch.setattr(snapshot, "available_memory", lambda: 8)
    live = {"weight": torch.ones(3)}
    snapshots = Snapshots(overlap=True)
    assert not snapshots.take(live, {})[2]
    assert not snapshots.take(live, {})[2]
    assert caplog.text.count("saving does not overlap training") == 1


@pytest.mark.parametrize("version", list(CONTROL_GROUPS))
def test_memory_is_what_the_container_leaves(tmp_path: Path, version: str) -> None:
    """A control group's limit less what it uses, read files left out; without one, the machine's."""
    limit, used, cached = CONTROL_GROUPS[version]
    folder = tmp_path / version
    folder.mkdir(exist_ok=True)
    (folder / limit).write_text("1000\n", encoding="ascii")
    (folder / used).write_text("400\n", encoding="ascii")
    (folder / "memory.stat").write_text(f"cache 90\n{cached} 50\n", encoding="ascii")
    assert available_memory(tmp_path) == 650
    (folder / limit).write_text("max\n", encoding="ascii")
    assert available_memory(tmp_path) > 1000
    assert available_memory(tmp_path / "none") > 1000


def test_the_monitor_prunes_when_the_disk_gets_low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is protected stays, while nothing is saved."""
    store = store_at(tmp_path, keep_last_n=3, keep_best_k=3, free_disk_watermark=0.5)
    monkeypatch.setattr(disk, "disk_of", lambda path: disk.Disk(90 * 10**9, 10**11))
    for epoch, value in ((1, 0.9), (2, 0.2), (3, 0.1)):
        store.save(make_checkpoint(epoch, value))
    assert len(store.entries()) == 3
    with DiskMonitor(store, interval=0.01):
        monkeypatch.setattr(disk, "disk_of", lambda path: disk.Disk(10**9, 10**11))
        deadline = time.monotonic() + 20
        while len(store.entries()) > 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [entry.manifest.epoch for entry in store.entries()] == [1, 3]


def test_the_monitor_waits_until_it_is_known_what_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has begun and not yet found its checkpoint: nothing of the interrupted trial goes."""
    store = store_at(tmp_path, free_disk_watermark=0.5)
    for epoch, value in ((1, 0.9), (2, 0.2)):
        store.save(make_checkpoint(epoch, value))
    store.trials.abandon()
    monkeypatch.setattr(disk, "disk_of", lambda path: disk.Disk(10**9, 10**11))
    store.prune_if_disk_low()
    assert [(e.manifest.epoch, e.manifest.resumable) for e in store.entries()] == [(1, False), (2, True)]


def test_a_write_that_hangs_is_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel_bytes: int
) -> None:
    """After a signal the process does not wait for it longer than it has; the next start mends."""
    go = threading.Event()

    def block(event: files.Event) -> None:
        if event.operation == "fsync" and event.path.name == MODEL:
            go.wait(30)

    monkeypatch.setattr(files, "observer", block)
    store = store_at(tmp_path, parallel_bytes)
    store.submit(detached(1))
    started = time.monotonic()
    store.drain(0.1)
    assert time.monotonic() - started < 10
    assert store.entries() == []
    go.set()
    store.drain()
    assert len(store.entries()) == 1


def test_a_checkpoint_of_another_study_is_refused(tmp_path: Path) -> None:
    """It would rank among the study's own, and take the best's place."""
    store = store_at(tmp_path)
    with pytest.raises(StudyError, match="belongs to the study 'other-00000000'"):
        store.save(replace(make_checkpoint(), study="other-00000000"))
    assert store.entries() == []


def test_pressure_takes_first_what_can_be_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Quarantine, temporaries and unused token stores go before any checkpoint."""
    size = budget.estimate_bytes(make_checkpoint())
    tokens = tmp_path / "tokens"
    room = int(5 * size / 0.95)
    folder = tmp_path / "study"
    policy = RetentionPolicy(keep_last=2, keep_best=1)
    store = CheckpointStore(folder, policy, Budget(room, [tokens], 0.0), study="study-00000000")
    for epoch in (1, 2):
        store.save(make_checkpoint(epoch, 0.1 * epoch))
    checkpoints = store.entries()[0].path.parent
    for place in (
        checkpoints / "quarantine-epoch_0009-1",
        checkpoints / ".tmp-epoch_0008",
        tokens / "tokens_a",
    ):
        place.mkdir(parents=True)
        (place / "rows").write_bytes(b"x" * 2 * size)
    owned = store.owned(lambda: None, reclaim=lambda remove: remove(tokens / "tokens_a"))
    with owned, caplog.at_level("INFO"):
        store.save(make_checkpoint(3, 0.3))
    assert [entry.manifest.epoch for entry in store.entries()] == [2, 3]
    assert caplog.text.count("space was needed") == 3
    assert not (tokens / "tokens_a").exists()


def test_a_dry_run_says_what_would_go_and_deletes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every epoch is still there; the log names what retention would do."""
    store = store_at(tmp_path, dry_run=True)
    with caplog.at_level("INFO"):
        for epoch, value in ((1, 0.1), (2, 0.9), (3, 0.2)):
            store.save(make_checkpoint(epoch, value))
    assert len(store.entries()) == 3
    assert all(entry.manifest.resumable for entry in store.entries())
    assert "would delete trial 0 epoch 1" in caplog.text
    assert "would strip trial 0 epoch 2" in caplog.text


def test_what_is_kept_is_explained(tmp_path: Path) -> None:
    """The reasons of the plan, for the preview."""
    store = store_at(tmp_path)
    for epoch, value in ((1, 0.9), (2, 0.2)):
        store.save(make_checkpoint(epoch, value))
    reasons = {entry.manifest.epoch: reason for entry, reason in store.explain()}
    assert "the study's best" in reasons[1]
    assert "newest 1 of the running trial" in reasons[2]
    assert isinstance(store._pruner.plan(), Plan)


def test_what_is_kept_is_explained_while_another_process_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that is committed once the plan stands is not in it."""
    store, other = store_at(tmp_path, keep_last_n=3), store_at(tmp_path, keep_last_n=3)
    store.save(make_checkpoint(1, 0.9))
    plan = retention.plan

    def planned(*given: Any) -> Plan:
        found = plan(*given)
        monkeypatch.setattr(retention, "plan", plan)
        other.save(make_checkpoint(2, 0.2))
        return found

    monkeypatch.setattr(retention, "plan", planned)
    assert [entry.manifest.epoch for entry, _ in store.explain()] == [1]
    assert [entry.manifest.epoch for entry, _ in store.explain()] == [1, 2]


def test_a_save_that_fits_measures_the_folders_once(tmp_path: Path) -> None:
    """Each measurement walks all that studies share."""
    store, measured = store_at(tmp_path), 0

    def promised() -> int:
        nonlocal measured
        measured += 1
        return 0

    with store.counting(promised):
        store.save(make_checkpoint(1, 0.9))
    assert measured == 1


@pytest.mark.parametrize("lost", ["the trial", "the study"])
def test_what_is_lost_while_a_checkpoint_is_written_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Another process takes over once the write has begun: this one commits nothing and leaves no debris."""
    store = store_at(tmp_path)
    store.trials.begin(0)
    owned = True

    def check() -> None:
        if not owned:
            raise StudyError("another process owns the study")

    def lose(event: files.Event) -> None:
        nonlocal owned
        if event.operation == "fsync" and event.path.name == MODEL:
            monkeypatch.setattr(files, "observer", None)
            if lost == "the trial":
                write_attempt(tmp_path, Attempt(0, 2))
            owned = lost == "the trial"

    monkeypatch.setattr(files, "observer", lose)
    with store.owned(check), pytest.raises(TakenOverError if lost == "the trial" else StudyError):
        store.save(make_checkpoint(1, 0.9, trial=0))
    assert store.entries() == []
    assert list((tmp_path / "trials").glob("*/checkpoints/*")) == []


def test_commits_and_deletions_hold_the_study_and_writes_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename of a checkpoint's folder is under the lock; no tensor is written under it."""
    store, locked, seen = store_at(tmp_path), False, set()

    @contextmanager
    def guard() -> Iterator[None]:
        nonlocal locked
        locked = True
        yield
        locked = False

    def note(event: files.Event) -> None:
        if "epoch_" in event.path.name or event.path.name == MODEL:
            seen.add((event.operation, locked))

    monkeypatch.setattr(files, "observer", note)
    with store.owned(lambda: None, guard):
        for epoch, value in ((1, 0.1), (2, 0.9), (3, 0.2)):
            store.save(make_checkpoint(epoch, value))
    assert ("rename", True) in seen
    assert ("rename", False) not in seen
    assert ("write", True) not in seen


def test_a_strip_that_stops_anywhere_leaves_a_whole_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new manifest stands before the files go that only the old one lists."""
    for fatal in range(1, 30):
        store = store_at(tmp_path / str(fatal), keep_last_n=2)
        for epoch, value in ((1, 0.9), (2, 0.1)):
            store.save(make_checkpoint(epoch, value))
        left = fatal

        def stop(event: files.Event) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        monkeypatch.setattr(files, "observer", stop)
        try:
            store.trials.finish_all()
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            monkeypatch.setattr(files, "observer", None)
        best = store_at(tmp_path / str(fatal)).best()
        assert best is not None
        best.verify()
    assert 3 < fatal < 29
