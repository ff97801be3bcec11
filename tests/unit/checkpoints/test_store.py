"""The store on real files: atomic, verified, under a budget."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import make_checkpoint, newest_valid
from tests.support.stores import SIGNATURE, store_at

from thriftune import files
from thriftune.checkpoints import budget, pruning
from thriftune.checkpoints.budget import Budget
from thriftune.checkpoints.hashing import PARALLEL_BYTES
from thriftune.checkpoints.manifest import MANIFEST, MODEL, OPTIMIZER, read_manifest
from thriftune.checkpoints.retention import RetentionPolicy
from thriftune.checkpoints.store import CheckpointStore
from thriftune.errors import DamageError, OutOfStorageError, ThriftuneError

pytestmark = pytest.mark.unit


def test_a_saved_checkpoint_is_read_back_bit_for_bit(tmp_path: Path, parallel_bytes: int) -> None:
    """Tensors, state and facts survive; the receipt is settled; no time stands in the tensors, and nothing
    of how they were written."""
    store, checkpoint = store_at(tmp_path, parallel_bytes), make_checkpoint()
    store.trials.begin(0)
    with pytest.raises(ThriftuneError, match="no store saved it"):
        checkpoint.receipt.check()
    manifest = store.save(checkpoint)
    checkpoint.receipt.check()
    loaded = newest_valid(store, SIGNATURE)
    assert loaded is not None
    assert torch.equal(loaded.model["weight"], checkpoint.model["weight"])
    assert torch.equal(loaded.optimizer["weight/exp_avg"], checkpoint.optimizer["weight/exp_avg"])
    assert loaded.state == checkpoint.state
    assert manifest.sha256 == files.sha256_file(loaded.entry.path / MODEL)
    again = store_at(tmp_path / "other")
    assert again.save(make_checkpoint()).files == manifest.files


def is_direct(path: Path) -> bool:
    """Whether this process has the file open for writes past the page cache."""
    for descriptor in Path("/proc/self/fd").iterdir():
        if os.path.realpath(descriptor) == str(path):
            facts = Path("/proc/self/fdinfo", descriptor.name).read_text(encoding="ascii")
            return bool(int(facts.split("flags:")[1].split()[0], 8) & os.O_DIRECT)
    return False


@pytest.mark.parametrize("size", [1500, 9_000_000], ids=["a block and a rest", "64 MiB and more"])
def test_a_large_checkpoint_is_written_two_files_at_a_time_past_the_page_cache(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """From the size on that the store was given, 64 MiB by default; the same bytes as a small one's."""
    checkpoint = make_checkpoint(size=size)
    needed = budget.estimate_bytes(checkpoint)
    plain = store_at(on_disk / "small", needed + 1, max_total_size="200MB")
    large = store_at(on_disk / "large", min(needed, PARALLEL_BYTES), max_total_size="200MB")
    both, seen = threading.Barrier(2, timeout=30), set()

    def watch(event: files.Event) -> None:
        if event.operation == "create" and event.path.name in (MODEL, OPTIMIZER):
            both.wait()
        elif event.operation == "write" and is_direct(event.path):
            seen.add(event.path.name)

    expected = plain.save(checkpoint).files
    assert CheckpointStore(on_disk, plain.policy, plain.budget).parallel_bytes == 64 * 2**20
    monkeypatch.setattr(files, "observer", watch)
    assert large.save(make_checkpoint(size=size)).files == expected
    assert seen == {MODEL, OPTIMIZER}
    loaded = newest_valid(large, SIGNATURE)
    assert loaded is not None
    assert torch.equal(loaded.model["weight"], checkpoint.model["weight"])


def test_only_newest_and_best_are_held_and_the_best_is_stripped(tmp_path: Path) -> None:
    """With the default policy a running trial holds two checkpoints, a finished one its best."""
    store = store_at(tmp_path)
    store.trials.begin(0)
    for epoch, value in ((1, 0.2), (2, 0.9), (3, 0.4), (4, 0.5)):
        store.save(make_checkpoint(epoch, value))
    assert [(e.manifest.epoch, e.manifest.resumable) for e in store.entries()] == [(2, False), (4, True)]
    before = files.sha256_file(store.entries()[0].path / MODEL)
    store.trials.finish_all()
    assert [e.manifest.epoch for e in store.entries()] == [2]
    best = store.best()
    assert best is not None
    assert best.manifest.sha256 == before
    assert sorted(p.name for p in best.path.iterdir()) == [MANIFEST, MODEL]


def test_the_budget_is_kept_and_its_end_is_reported(tmp_path: Path) -> None:
    """A checkpoint that has no room is refused before it is written, with figures and files."""
    store = store_at(tmp_path, max_total_size=700_000)
    store.trials.begin(0)
    store.save(make_checkpoint(1, size=1000))
    with pytest.raises(OutOfStorageError, match="the budget has no room") as caught:
        store.save(make_checkpoint(2, size=200_000))
    assert caught.value.exit_code == 3
    assert "epoch_0001" in str(caught.value)
    assert store.held_bytes() <= 700_000
    assert newest_valid(store, SIGNATURE) is not None


def test_room_is_made_from_what_is_unprotected(tmp_path: Path) -> None:
    """A co-best goes where the next checkpoint would not fit beside it."""
    size = 40_000
    store = store_at(tmp_path, max_total_size=1_300_000, keep_best_k_max=3)
    for trial in (0, 1, 2):
        store.trials.begin(trial)
        store.save(make_checkpoint(1, 0.5, trial, size=size))
        store.trials.finish_all()
    assert len(store.co_best()) == 3
    store.trials.begin(3)
    store.save(make_checkpoint(1, 0.1, 3, size=size))
    assert store.co_best()[0].manifest.trial == 0
    assert store.held_bytes() <= 1_300_000


def test_a_budget_below_the_least_is_refused_with_the_least(tmp_path: Path) -> None:
    """The message names the bytes that would do."""
    least = budget.with_reserve(budget.least_budget_bytes(10**6, 3 * 10**6))
    store_at(tmp_path, max_total_size=least).require_budget(least)
    with pytest.raises(OutOfStorageError, match=str(least)):
        store_at(tmp_path, max_total_size=least - 1).require_budget(least)


def test_a_disk_that_fills_in_the_middle_leaves_no_debris(place: Path, parallel_bytes: int) -> None:
    """A write that the system refuses ends as out of storage; the older checkpoint is intact."""
    store = store_at(place, parallel_bytes)
    store.trials.begin(0)
    store.save(make_checkpoint(1))
    large = make_checkpoint(2, size=100_000)  # made here: torch's threads do not survive a fork
    if (pid := os.fork()) == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = 24 * files.BLOCK_BYTES
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = 1
        try:
            store.save(large)
        except OutOfStorageError as error:
            code = error.exit_code
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    assert not list(place.rglob(".tmp-*"))
    loaded = newest_valid(store, SIGNATURE)
    assert loaded is not None
    assert loaded.entry.manifest.epoch == 1


def test_the_watermark_leaves_only_what_is_protected(tmp_path: Path) -> None:
    """Under the watermark of free disk the co-best goes."""
    store = store_at(tmp_path, free_disk_watermark=0.9999)
    for trial in (0, 1):
        store.trials.begin(trial)
        store.save(make_checkpoint(1, 0.5, trial))
        store.trials.finish_all()
    assert [entry.manifest.trial for entry in store.entries()] == [0]


def test_an_epoch_made_again_replaces_the_older(tmp_path: Path, parallel_bytes: int) -> None:
    """The same epoch saved twice stands once."""
    store = store_at(tmp_path, parallel_bytes)
    store.trials.begin(0)
    store.save(make_checkpoint(1, fill=1.0))
    store.save(make_checkpoint(1, fill=5.0))
    loaded = newest_valid(store, SIGNATURE)
    assert loaded is not None
    assert float(loaded.model["weight"][0]) == 6.0
    assert not list(tmp_path.rglob("quarantine-*"))


def test_files_that_no_manifest_lists_are_swept(tmp_path: Path) -> None:
    """What a kill inside strip leaves behind goes at the next start."""
    store = store_at(tmp_path)
    store.trials.begin(0)
    store.save(make_checkpoint())
    folder = store.entries()[0].path
    (folder / "stray").write_bytes(b"x")
    (folder.parent / ".tmp-epoch_0009").mkdir()
    store.trials.recover_all()
    store.entries()[0].verify()
    assert sorted(p.name for p in folder.parent.iterdir()) == ["epoch_0001"]
    assert "stray" not in {p.name for p in folder.iterdir()}


def test_a_manifest_that_does_not_follow_its_schema_is_damage(tmp_path: Path) -> None:
    """Another format version, or a field that is missing, is named."""
    store = store_at(tmp_path)
    store.save(make_checkpoint())
    path = store.entries()[0].path / MANIFEST
    value = files.read_json(path)
    files.write_json(path, {**value, "format_version": 2})
    with pytest.raises(DamageError, match="format_version"):
        read_manifest(path.parent)


def test_what_studies_share_counts_against_each_budget(tmp_path: Path) -> None:
    """Token stores and databases take from the budget; a hard link is one file, a link's target none."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "tokens.arrow").write_bytes(b"x" * 400_000)
    (shared / "again.arrow").hardlink_to(shared / "tokens.arrow")
    (tmp_path / "elsewhere").write_bytes(b"x" * 900_000)
    (shared / "link").symlink_to(tmp_path / "elsewhere")
    policy, study = RetentionPolicy(), "study-00000000"
    store = CheckpointStore(tmp_path / "study", policy, Budget(700_000, [shared], 0), study=study)
    assert 400_000 <= store.held_bytes() < 401_000
    store.trials.begin(0)
    with pytest.raises(OutOfStorageError, match=r"tokens\.arrow"):
        store.save(make_checkpoint(1, size=1000))
    alone = CheckpointStore(tmp_path / "study", policy, Budget("700kB", (), 0), study=study)
    alone.trials.begin(0)
    alone.save(make_checkpoint(1, size=1000))


@contextmanager
def on_first_open(name: str, act: Callable[[], None]) -> Iterator[None]:
    """Act when a file of this name is opened for reading, once."""
    done = False
    real = Path.open

    def opened(self: Path, *given: Any, **named: Any) -> Any:
        nonlocal done
        if self.name == name and not done:
            done = True
            act()
        return real(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opened)
        yield
    assert done, f"{name} was not opened"


def resumable_pair(folder: Path) -> CheckpointStore:
    """A trial that was interrupted with two checkpoints to resume from."""
    store = store_at(folder, keep_last_n=2)
    for epoch, value in ((1, 0.1), (2, 0.9)):
        store.save(make_checkpoint(epoch, value))
    return store


def test_others_plan_and_commit_while_a_checkpoint_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading gigabytes does not keep the study's lock; setting a damaged checkpoint aside does."""
    store = resumable_pair(tmp_path)
    locked = False
    seen = []

    @contextmanager
    def guard() -> Iterator[None]:
        nonlocal locked
        locked = True
        yield
        locked = False

    monkeypatch.setattr(files, "observer", lambda event: seen.append((event.operation, locked)))
    (store.entries()[-1].path / OPTIMIZER).write_bytes(b"damaged")
    with store.owned(lambda: None, guard), on_first_open(MODEL, lambda: seen.append(("read", locked))):
        loaded = store.newest(0)
    assert loaded is not None
    assert loaded.entry.manifest.epoch == 1
    assert seen == [("read", False), ("rename", True), ("fsync_directory", True)]


@pytest.mark.parametrize(("change", "epoch"), [("deleted", 1), ("stripped", 1), ("replaced", 2)])
def test_a_checkpoint_that_changes_while_it_is_read_is_not_damaged(
    tmp_path: Path, change: str, epoch: int
) -> None:
    """Another process deletes, strips, or moves it and puts it back: what is there then is used."""
    store = resumable_pair(tmp_path)
    newer = store.entries()[-1]
    aside = newer.path.with_name("aside")
    deeds: dict[str, Callable[[], Any]] = {
        "deleted": lambda: pruning.delete(newer.path),
        "stripped": lambda: pruning.strip(newer),
        "replaced": lambda: newer.path.rename(aside),
    }
    probe = tmp_path / "probe"
    while not probe.exists() or probe.stat().st_ctime_ns <= newer.path.stat().st_ctime_ns:
        probe.write_bytes(b"")  # until the file system's clock has ticked since the save

    @contextmanager
    def guard() -> Iterator[None]:
        if aside.exists():  # whoever moved it had the lock until now
            aside.rename(newer.path)
        yield

    with store.owned(lambda: None, guard), on_first_open(MODEL, deeds[change]):
        loaded = store.newest(0)
    assert loaded is not None
    assert loaded.entry.manifest.epoch == epoch
    assert not list(newer.path.parent.glob("quarantine-*"))


def peak_growth(act: Callable[[], Any]) -> int:
    """Bytes by which this process's memory grew at most while it acted."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("no /proc/self/clear_refs: the peak of memory cannot be reset here")

    def resident(field: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

    reset.write_text("5", encoding="ascii")
    before = resident("VmRSS")
    act()
    return resident("VmHWM") - before


def test_files_are_verified_through_small_buffers_and_a_model_is_read_without_its_optimizer(
    tmp_path: Path,
) -> None:
    """A checkpoint may be larger than the memory; 32 MiB of weights and as much of the optimizer's state."""
    store = store_at(tmp_path, max_total_size="1GB")
    checkpoint = make_checkpoint(size=8 << 20)
    store.save(checkpoint)
    [entry] = store.entries()
    assert peak_growth(entry.verify) < 28 << 20
    loaded: dict[str, torch.Tensor] = {}
    assert peak_growth(lambda: loaded.update(store.load_model(entry, SIGNATURE))) < 48 << 20
    assert torch.equal(loaded["weight"], checkpoint.model["weight"])
    (entry.path / MODEL).write_bytes(b"damaged")
    with pytest.raises(DamageError):
        store.load_model(entry, SIGNATURE)
