"""A study has one owner; the system takes the lock from the dead."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from thriftune.errors import StudyError
from thriftune.search.ownership import StudyLock

pytestmark = pytest.mark.unit


def test_another_process_is_named_and_a_dead_one_is_no_owner(tmp_path: Path) -> None:
    """Also while it is stopped (SIGSTOP)."""
    assert not StudyLock(tmp_path).is_held()
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        with StudyLock(tmp_path):
            os.write(writing, b"x")
            signal.pause()
    os.read(reading, 1)
    for number in (signal.SIGCONT, signal.SIGSTOP):
        os.kill(pid, number)
        assert StudyLock(tmp_path).is_held()
        with pytest.raises(StudyError, match=f'"pid": {pid}'), StudyLock(tmp_path):
            pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not StudyLock(tmp_path).is_held()
    with StudyLock(tmp_path):
        assert StudyLock(tmp_path).is_held()
