"""SIGKILL before every system call, and power cuts: what was promised is there afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import make_checkpoint, newest_valid
from tests.unit.checkpoints.crash import ForgetfulDisk
from tests.unit.checkpoints.test_store import SIGNATURE, store_at

from thriftune import files
from thriftune.checkpoints.entries import verify
from thriftune.checkpoints.manifest import OPTIMIZER
from thriftune.checkpoints.store import CheckpointStore

pytestmark = pytest.mark.unit

Deed = Callable[[Path], None]
VALUES = {1: 0.9, 2: 0.1, 3: 0.95}


def prepare(folder: Path) -> CheckpointStore:
    store = store_at(folder, overlap=False)
    store.begin_trial(0)
    for epoch in (1, 2):
        store.save(make_checkpoint(epoch, VALUES[epoch]))
    return store


def save(folder: Path) -> None:
    """A save that strips the newest into the best, and deletes the old best."""
    store_at(folder).save(make_checkpoint(3, VALUES[3]))


def end_trial(folder: Path) -> None:
    """Prune: only the study's best stays."""
    store_at(folder).end_trial()


def save_again(folder: Path) -> None:
    """The same epoch once more, as after a fallback: the older stands aside."""
    store_at(folder).save(make_checkpoint(2, VALUES[2]))


def quarantine(folder: Path) -> None:
    """A damaged newest is set aside, the older one used."""
    newest_valid(store_at(folder), SIGNATURE)


def start(folder: Path) -> None:
    """Mends what a torn save left."""
    store_at(folder).start()


def damage(folder: Path) -> None:
    optimizer = folder / "trials/trial_0000_00000000/checkpoints/epoch_0002" / OPTIMIZER
    optimizer = next(folder.glob(f"trials/*/checkpoints/epoch_0002/{OPTIMIZER}"), optimizer)
    optimizer.write_bytes(optimizer.read_bytes()[:-1])


def tear(folder: Path) -> None:
    checkpoints = next(folder.glob("trials/*/checkpoints"))
    shutil.copytree(checkpoints / "epoch_0002", checkpoints / ".tmp-epoch_0003")
    (checkpoints / "epoch_0001" / "optimizer.safetensors").write_bytes(b"not listed")
    (checkpoints / "epoch_0007").mkdir()


def nothing(folder: Path) -> None:
    return


SCENES: list[tuple[Deed, Deed]] = [
    (nothing, save),
    (nothing, end_trial),
    (nothing, save_again),
    (damage, quarantine),
    (tear, start),
]


def run_killed(deed: Deed, folder: Path, fatal: int) -> tuple[bool, str]:
    """Run in a child that is killed before its n-th event: (whether it ended by itself, which event)."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        count = 0

        def die(event: files.Event) -> None:
            nonlocal count
            count += 1
            if count == fatal:
                os.write(writing, f"{event.operation} {event.path.name}".encode())
                os.kill(os.getpid(), signal.SIGKILL)

        files.observer = die
        code = 1
        try:
            deed(folder)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        at = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFEXITED(status), at


def check(folder: Path, deed: Deed, *, complete: bool) -> None:
    """After a start: a valid newest unless the trial ended, the best of what was promised, no debris, and
    nothing half taken for whole."""
    store = store_at(folder)
    store.start()
    for entry in store.entries():
        if deed is not quarantine:
            verify(entry)
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
    assert not list(folder.rglob(".tmp-*"))
    assert not list(folder.rglob("*.tmp"))


def kill_everywhere(root: Path, scenes: list[tuple[Deed, Deed]]) -> Counter[str]:
    killed: Counter[str] = Counter()
    for before, deed in scenes:
        fatal = 0
        ended = False
        while not ended:
            fatal += 1
            folder = root / f"{deed.__name__}-{fatal}"
            prepare(folder)
            before(folder)
            ended, at = run_killed(deed, folder, fatal)
            killed[at] += 1
            check(folder, deed, complete=ended)
            shutil.rmtree(folder)
    return killed


def test_a_kill_before_any_system_call_breaks_no_promise(tmp_path: Path) -> None:
    """Every event of save, prune, a repeated save, quarantine and start-up is fatal once."""
    killed = kill_everywhere(tmp_path, SCENES)
    operations = {at.split()[0] for at in killed if at}
    assert operations == {
        "create", "write", "fsync", "close", "mkdir", "rename", "fsync_directory", "unlink", "rmdir",
    }  # fmt: skip
    assert killed.total() >= 60


@pytest.mark.slow
def test_two_hundred_kills(tmp_path: Path) -> None:
    """The same until at least 200 processes were killed, each a second time in the start that mends."""
    total = 0
    while total < 200:
        total += kill_everywhere(tmp_path, SCENES).total() - len(SCENES)
    for fatal in range(1, 40):
        folder = tmp_path / f"twice-{fatal}"
        prepare(folder)
        ended, _ = run_killed(save, folder, fatal)
        run_killed(start, folder, 1 + fatal % 5)
        check(folder, save, complete=ended)


def recorded(deed: Deed, folder: Path) -> list[files.Event]:
    events: list[files.Event] = []

    def record(event: files.Event) -> None:
        events.append(files.Event(event.operation, event.path, event.source, bytes(event.data)))

    files.observer = record
    try:
        deed(folder)
    finally:
        files.observer = None
    return events


@pytest.mark.parametrize("states", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_power_cut_breaks_no_promise(tmp_path: Path, states: int) -> None:
    """States that a cut may leave, at every event of a save and of a trial's end: a committed checkpoint is
    whole, and the newest and the best of what was committed before are there."""
    chance = random.Random(0)
    folder = tmp_path / "study"
    checked = 0
    for deed in (save, end_trial, save_again):
        if folder.exists():
            shutil.rmtree(folder)
        prepare(folder)
        disk = ForgetfulDisk(folder)
        events = recorded(deed, folder)
        share = -(-states // (3 * (len(events) + 1)))
        for number in range(len(events) + 1):
            for _ in range(share):
                disk.cut(chance, tmp_path / "cut")
                check(tmp_path / "cut", deed, complete=number == len(events))
                checked += 1
            if number < len(events):
                disk.apply(events[number])
    assert checked >= states
