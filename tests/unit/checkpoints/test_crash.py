"""SIGKILL before every system call, and power cuts: what was promised is there afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import make_checkpoint, newest_valid
from tests.support.stores import SIGNATURE, store_at
from tests.unit.checkpoints.crash import ForgetfulDisk

from thriftune import files
from thriftune.checkpoints.manifest import OPTIMIZER
from thriftune.checkpoints.store import CheckpointStore

# Not counted for coverage: they go hundreds of times through what other tests cover, at twice the time.
pytestmark = [pytest.mark.unit, pytest.mark.no_cover]

Deed = Callable[[CheckpointStore], None]
VALUES = {1: 0.9, 2: 0.1, 3: 0.95}
SIZE = 1500
"""Values of a tensor: a block that can be written past the page cache, and a rest that cannot."""


def prepare(folder: Path, parallel_bytes: int) -> CheckpointStore:
    store = store_at(folder, parallel_bytes, overlap=False)
    store.trials.begin(0)
    for epoch in (1, 2):
        store.save(make_checkpoint(epoch, VALUES[epoch], size=SIZE))
    return store


def save(store: CheckpointStore) -> None:
    """A save that strips the newest into the best, and deletes the old best."""
    store.save(make_checkpoint(3, VALUES[3], size=SIZE))


def end_trial(store: CheckpointStore) -> None:
    """Prune: only the study's best stays."""
    store.trials.finish_all()


def save_again(store: CheckpointStore) -> None:
    """The same epoch once more, as after a fallback: the older stands aside."""
    store.save(make_checkpoint(2, VALUES[2], size=SIZE))


def quarantine(store: CheckpointStore) -> None:
    """A damaged newest is set aside, the older one used."""
    newest_valid(store, SIGNATURE)


def start(store: CheckpointStore) -> None:
    """Mends what a torn save left."""
    store.trials.recover_all()


def damage(store: CheckpointStore) -> None:
    folder = store.folder
    optimizer = folder / "trials/trial_0000_00000000/checkpoints/epoch_0002" / OPTIMIZER
    optimizer = next(folder.glob(f"trials/*/checkpoints/epoch_0002/{OPTIMIZER}"), optimizer)
    optimizer.write_bytes(optimizer.read_bytes()[:-1])


def tear(store: CheckpointStore) -> None:
    checkpoints = next(store.folder.glob("trials/*/checkpoints"))
    shutil.copytree(checkpoints / "epoch_0002", checkpoints / ".tmp-epoch_0003")
    (checkpoints / "epoch_0001" / "optimizer.safetensors").write_bytes(b"not listed")
    (checkpoints / "epoch_0007").mkdir()


def nothing(store: CheckpointStore) -> None:
    return


SCENES: list[tuple[Deed, Deed]] = [
    (nothing, save),
    (nothing, end_trial),
    (nothing, save_again),
    (damage, quarantine),
    (tear, start),
]
WRITING = [(nothing, save), (nothing, save_again)]
"""Those in which tensors are written."""


def run_killed(deed: Deed, store: CheckpointStore, fatal: int) -> tuple[bool, str]:
    """Run in a child that is killed before its n-th event: (whether it ended by itself, which event)."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        count = 0
        lock = threading.Lock()  # two files may be written at a time

        def die(event: files.Event) -> None:
            nonlocal count
            with lock:
                count += 1
                if count == fatal:
                    os.write(writing, f"{event.operation} {event.path.name}".encode())
                    os.kill(os.getpid(), signal.SIGKILL)

        files.observer = die
        code = 1
        try:
            deed(store)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        at = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFEXITED(status), at


def check(store: CheckpointStore, deed: Deed, *, complete: bool) -> None:
    """After a start: a valid newest unless the trial ended, the best of what was promised, no debris, and
    nothing half taken for whole."""
    store.trials.recover_all()
    for entry in store.entries():
        if deed is not quarantine:
            store.verify(entry)
    best = store.best()
    assert best is not None
    if complete and deed is save:
        assert best.manifest.value == VALUES[3]
    assert best.manifest.value in (VALUES[1], VALUES[3])
    newest = newest_valid(store, SIGNATURE)
    if deed is save or deed is save_again:
        assert newest is not None
        assert newest.entry.manifest.epoch in (2, 3)
        assert float(newest.model["weight"][0]) == 1.0 + newest.entry.manifest.epoch
    assert not list(store.folder.rglob(".tmp-*"))
    assert not list(store.folder.rglob("*.tmp"))


def kill_everywhere(root: Path, scenes: list[tuple[Deed, Deed]], parallel_bytes: int) -> Counter[str]:
    killed: Counter[str] = Counter()
    for before, deed in scenes:
        fatal = 0
        ended = False
        while not ended:
            fatal += 1
            folder = root / f"{deed.__name__}-{fatal}"
            store = prepare(folder, parallel_bytes)
            before(store)
            ended, at = run_killed(deed, store, fatal)
            killed[at] += 1
            check(store_at(folder, parallel_bytes), deed, complete=ended)
            shutil.rmtree(folder)
    return killed


def test_a_kill_before_any_system_call_breaks_no_promise(tmp_path: Path, parallel_bytes: int) -> None:
    """Every event of save, prune, a repeated save, quarantine and start-up is fatal once; of both saves also
    where two files are written at a time."""
    killed = kill_everywhere(tmp_path, SCENES if parallel_bytes else WRITING, parallel_bytes)
    operations = {at.split()[0] for at in killed if at}
    assert operations == {
        "create", "write", "fsync", "close", "mkdir", "rename", "fsync_directory", "unlink", "rmdir",
    }  # fmt: skip
    assert killed.total() >= (60 if parallel_bytes else 50)


@pytest.mark.slow
def test_two_hundred_kills(place: Path, parallel_bytes: int) -> None:
    """The same until at least 200 processes were killed, each a second time in the start that mends."""
    total = 0
    while total < 200:
        total += kill_everywhere(place, SCENES, parallel_bytes).total() - len(SCENES)
    for fatal in range(1, 40):
        store = prepare(place / f"twice-{fatal}", parallel_bytes)
        ended, _ = run_killed(save, store, fatal)
        run_killed(start, store, 1 + fatal % 5)
        check(store, save, complete=ended)


def recorded(deed: Deed, store: CheckpointStore) -> list[files.Event]:
    events: list[files.Event] = []

    def record(event: files.Event) -> None:
        events.append(files.Event(event.operation, event.path, event.source, bytes(event.data)))

    files.observer = record
    try:
        deed(store)
    finally:
        files.observer = None
    return events


@pytest.mark.parametrize("states", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_power_cut_breaks_no_promise(place: Path, tmp_path: Path, parallel_bytes: int, states: int) -> None:
    """States that a cut may leave, at every event of a save and of a trial's end: a committed checkpoint is
    whole, and the newest and the best of what was committed before are there."""
    chance = random.Random(0)
    folder = place / "study"
    checked = 0
    for deed in (save, end_trial, save_again):
        if folder.exists():
            shutil.rmtree(folder)
        store = prepare(folder, parallel_bytes)
        disk = ForgetfulDisk(folder)
        events = recorded(deed, store)
        share = -(-states // (3 * (len(events) + 1)))
        for number in range(len(events) + 1):
            for _ in range(share):
                disk.cut(chance, tmp_path / "cut")
                check(store_at(tmp_path / "cut", parallel_bytes), deed, complete=number == len(events))
                checked += 1
            if number < len(events):
                disk.apply(events[number])
    assert checked >= states
