"""Signals end a run in order."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from thriftune.errors import InterruptedRunError
from thriftune.training import interrupt
from thriftune.training.interrupt import stop_on_signal

pytestmark = pytest.mark.unit


def test_the_first_signal_sets_the_flag_and_the_handlers_come_back() -> None:
    """Nothing is raised until the loop looks."""
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signal() as flag:
        flag.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.signal_name == "SIGTERM"
        with pytest.raises(InterruptedRunError, match="run the same command again"):
            flag.check()
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.alarm(0) == 0


def test_what_does_not_look_is_interrupted_when_the_grace_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm raises out of whatever still runs."""
    monkeypatch.setattr(interrupt, "GRACE_SECONDS", 1)

    def stubborn() -> None:
        with stop_on_signal():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)

    with pytest.raises(InterruptedRunError):
        stubborn()


def test_the_second_signal_exits_at_once() -> None:
    """With the exit code of an interrupted run."""
    if (pid := os.fork()) == 0:
        with stop_on_signal():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130


def test_the_clock_stands_still_while_the_process_is_stopped() -> None:
    """SIGSTOP for a second, SIGCONT: that second is not on it."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        with stop_on_signal() as flag:
            started, really = flag.clock(), time.monotonic()
            os.write(writer, b".")
            while time.monotonic() - really < 1.0:  # only a stop makes one round long
                flag.check()
            os.write(writer, f"{flag.clock() - started:.3f} {time.monotonic() - really:.3f}".encode())
        os._exit(0)
    assert os.read(reader, 1) == b"."
    os.kill(pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
    time.sleep(1.0)
    os.kill(pid, signal.SIGCONT)
    os.waitpid(pid, 0)
    shown, really = map(float, os.read(reader, 100).split())
    assert really >= 1.0
    assert shown < really - 0.9


def test_in_another_thread_nothing_is_installed() -> None:
    """Python sets handlers in the main thread only."""
    seen = []

    def work() -> None:
        with stop_on_signal() as flag:
            seen.append(flag.signal_name)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]
