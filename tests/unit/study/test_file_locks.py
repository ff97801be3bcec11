"""A study has one owner; the system takes the lock from the dead."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.conftest import make_checkpoint

from thriftune.config import StorageConfig
from thriftune.errors import StudyError
from thriftune.study.file_locks import LOCK, LOCKS, STORAGE, TRIALS, StudyLock, storage_section
from thriftune.study.storage import open_store

pytestmark = pytest.mark.unit


def a_process_with_the_lock(folder: Path) -> int:
    """A child that owns the study until it is ended."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        with StudyLock(folder):
            os.write(writing, b"x")
            signal.pause()
        os._exit(0)
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    return pid


def refusal(folder: Path) -> str:
    """What who comes second is told."""
    with pytest.raises(StudyError) as caught, StudyLock(folder):
        pass
    return str(caught.value)


def test_another_process_is_named_with_how_to_end_it(tmp_path: Path) -> None:
    """Pid, host, instant and command; a stopped one (SIGSTOP) still owns, a dead one is adopted at once."""
    assert not StudyLock(tmp_path).is_held()
    pid = a_process_with_the_lock(tmp_path)
    told = refusal(tmp_path)
    assert f"pid {pid} on {socket.gethostname()} since 20" in told
    assert f"end it with `kill {pid}`" in told
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    assert StudyLock(tmp_path).is_held()
    told = refusal(tmp_path)
    assert "is suspended and still owns" in told
    assert f"`kill -CONT {pid}`" in told
    assert f"`kill -KILL {pid}`" in told
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not StudyLock(tmp_path).is_held()
    with StudyLock(tmp_path):
        assert StudyLock(tmp_path).is_held()


def test_an_owner_elsewhere_is_not_to_be_killed_here(tmp_path: Path) -> None:
    """A pid of another machine, or of a container, says nothing about processes here."""
    pid = a_process_with_the_lock(tmp_path)
    note = tmp_path / LOCK
    owner = {**json.loads(note.read_text(encoding="utf-8")), "host": "elsewhere"}
    note.write_text(json.dumps(owner), encoding="utf-8")
    told = refusal(tmp_path)
    assert f"pid {pid} on elsewhere" in told
    assert "kill" not in told
    note.write_text("{", encoding="utf-8")
    assert "its owner is not recorded" in refusal(tmp_path)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("boot", "said"), [(None, "was killed"), ("before", "ended with an earlier start of this machine")]
)
def test_a_dead_owner_is_adopted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, boot: str | None, said: str
) -> None:
    """Killed, or from another boot; a lock that was released in order is nobody's."""
    caplog.set_level("INFO")
    pid = a_process_with_the_lock(tmp_path)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    note = tmp_path / LOCK
    owner = json.loads(note.read_text(encoding="utf-8"))
    note.write_text(json.dumps({**owner, "boot": boot or owner["boot"]}), encoding="utf-8")
    with StudyLock(tmp_path):
        assert f"{said}: pid {pid}" in caplog.text
    caplog.clear()
    with StudyLock(tmp_path):
        assert caplog.text == ""


def test_who_lost_the_lock_commits_nothing_more(tmp_path: Path) -> None:
    """The lock's file was deleted by hand and another process owns the study: a save leaves nothing."""
    store = open_store(tmp_path, "study-00000000", StorageConfig())
    with StudyLock(tmp_path) as lock, store.owned(lock.check):
        store.save(make_checkpoint(epoch=1))
        (tmp_path / LOCK).unlink()
        with StudyLock(tmp_path), pytest.raises(StudyError, match="another one may own the study"):
            store.save(make_checkpoint(epoch=2))
    assert [entry.manifest.epoch for entry in store.entries()] == [1]
    assert [path.name for path in tmp_path.rglob("checkpoints/*")] == ["epoch_0001"]


def test_each_process_of_a_shared_study_owns_its_trials(tmp_path: Path) -> None:
    """A trial has one owner, who may give it back; what nobody owns leaves no file. Who wants the whole study
    is told who works on it."""
    locks = tmp_path / LOCKS
    with StudyLock(tmp_path, shared=True) as one:
        with StudyLock(tmp_path, shared=True) as other:
            assert one.take(3)
            assert one.take(3)
            assert not other.take(3)
            assert (one.is_taken(3), other.is_taken(3), other.is_taken(4)) == (False, True, False)
            told = refusal(tmp_path)
            assert f"another process is working on this study: pid {os.getpid()} on" in told
            assert (tmp_path / LOCK).read_bytes() == b""  # it has no one owner
            one.release(3)
            assert list(locks.iterdir()) == []
            assert other.take(3)
            assert one.is_taken(3)
        assert list(locks.iterdir()) == []
        assert not one.is_taken(3)
    with StudyLock(tmp_path) as sole:
        assert sole.take(3)
        assert list(locks.iterdir()) == []


def test_who_lost_a_trial_s_lock_is_told(tmp_path: Path) -> None:
    """Its file was deleted by hand: another process may own the trial now."""
    with StudyLock(tmp_path, shared=True) as lock:
        lock.take(3)
        lock.check()
        (place,) = (tmp_path / LOCKS).iterdir()
        place.unlink()
        with pytest.raises(StudyError, match="another one may own the study") as caught:
            lock.check()
        assert caught.value.where == str(place)


@pytest.mark.parametrize("section", [STORAGE, TRIALS])
def test_what_one_process_does_at_a_time_waits_for_its_turn(tmp_path: Path, section: str) -> None:
    """Planning and committing, and choosing a trial: each waits for its like, and for nothing else."""

    def interrupted() -> None:
        raise InterruptedError

    def turn(lock: StudyLock) -> AbstractContextManager[None]:
        guard = storage_section(lock)
        assert guard is not None
        return guard() if section == STORAGE else lock.section(section)

    with (
        StudyLock(tmp_path, shared=True) as one,
        StudyLock(tmp_path, shared=True, waiting=interrupted) as other,
    ):
        with turn(one):
            with pytest.raises(InterruptedError), other.section(section):
                pass
            with other.section(TRIALS if section == STORAGE else STORAGE):
                pass
        with other.section(section):
            pass
    assert storage_section(StudyLock(tmp_path)) is None


def test_a_lock_whose_file_is_deleted_while_it_is_taken_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking: a lock on a file without a name would keep nobody out."""
    flock, deleted = fcntl.flock, list[Path]()

    def delete_first(descriptor: int, operation: int) -> None:
        if not deleted:
            deleted.append(tmp_path / LOCK)
            deleted[0].unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", delete_first)
    with StudyLock(tmp_path) as lock:
        lock.check()
        assert f"pid {os.getpid()}" in refusal(tmp_path)
    assert deleted
