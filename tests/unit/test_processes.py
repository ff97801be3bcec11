"""A forked start is to its caller what a real start is."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import coverage
import pytest
from tests import processes
from tests.integration.conftest import copy_project, environment

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(sys.platform != "linux", reason="programs are forked on Linux alone"),
]

PROGRAMS = {
    "ends by itself": "pass",
    "exit code": "import sys; sys.exit(3)",
    "exit with a message": "import sys; sys.exit('a message')",
    "exit with None": "import sys; sys.exit(None)",
    "exit without the interpreter's end": "import os; os._exit(7)",
    "uncaught exception": "raise ValueError('x')",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "SIGINT": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    "SIGPIPE is ignored": "import os, signal; os.kill(os.getpid(), signal.SIGPIPE); print('alive')",
    "a late thread": (
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()"
    ),
    "atexit": "import atexit; atexit.register(print, 'bye'); print('hi')",
    "argv": "import sys; print(sys.argv)",
    "input": "import sys; print(repr(sys.stdin.read()), sys.stdin.encoding, sys.stdin.errors)",
    "streams": (
        "import sys\nfor s in (sys.stdout, sys.stderr):\n"
        "    print(s.isatty(), s.encoding, s.errors, s.line_buffering, s.write_through, s.fileno(), s.mode)"
    ),
    "both outputs": "import sys; print(1, flush=True); print(2, file=sys.stderr)",
    "folder and environment": "import os; print(os.getcwd(), sorted(os.environ.items()))",
    "open descriptors": "import os; print(len(os.listdir('/proc/self/fd')))",
    "signal handlers": "import signal; print([signal.getsignal(n) for n in range(1, 32)])",
    "blocked signals": "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))",
    "main module": "import __main__ as m, sys; x = 1; print(m.x, __name__, sys.modules['__main__'] is m)",
    "search path": "import sys; print(sys.path, 'tests' in sys.modules, 'thriftune' in sys.modules)",
    "interpreter": "import gc, sys; print(sys.flags, sys.getrecursionlimit(), gc.isenabled(), gc.callbacks)",
    "loggers": "import logging; r = logging.getLogger(); print(r.handlers, r.level)",
    "umask and priority": "import os; print(os.umask(0), os.nice(0))",
    "threads": (
        "import os, threading as t\n"
        "print(t.active_count(), t.current_thread() is t.main_thread(), t.get_native_id() == os.getpid())"
    ),
    "limits": "import resource as r; print(r.getrlimit(r.RLIMIT_FSIZE), r.getrlimit(r.RLIMIT_AS))",
    "torch": (
        "import torch; torch.use_deterministic_algorithms(True); torch.manual_seed(1)\n"
        "print(torch.get_num_threads(), torch.rand(3), torch.ones(3) @ torch.ones(3))"
    ),
}


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A real child inherits that a shell in the background, or CI, ignores SIGINT; a user's does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_sees_and_shows_the_same(program: str, tmp_path: Path) -> None:
    """Exit code, signal, output, and what a program can read of its surroundings."""
    words = [sys.executable, "-c", program, "first", "second"]
    real, forked = (processes.run(words, tmp_path, os.environ, real=real) for real in (True, False))
    assert (forked.returncode, forked.stdout) == (real.returncode, real.stdout)
    # The traceback of a forked program has the server's frames above its own.
    assert forked.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


HOLDING = """
import sqlite3
database = sqlite3.connect("a.db", check_same_thread=False)
database.execute("pragma journal_mode=wal")
database.execute("create table a (b)")
database.commit()
text, raw = open("text", "w"), open("raw", "wb")
text.write("some text")
raw.write(b"some bytes")
"""


def test_what_a_program_still_holds_is_closed(tmp_path: Path) -> None:
    """Databases without their write-ahead log, and files with all that was written."""
    found = {}
    for real in (True, False):
        folder = tmp_path / str(real)
        folder.mkdir()
        assert processes.run([sys.executable, "-c", HOLDING], folder, os.environ, real=real).returncode == 0
        found[real] = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert found[True] == found[False]
    assert found[True].keys() == {"a.db", "text", "raw"}


@pytest.mark.parametrize("words", [["-m", "site"], ["-m", "json.tool", "--help"]], ids=["site", "json.tool"])
def test_a_module_runs_the_same(words: list[str], tmp_path: Path) -> None:
    """`python -m`."""
    real, forked = (
        processes.run([sys.executable, *words], tmp_path, os.environ, real=real) for real in (True, False)
    )
    assert (forked.returncode, forked.stderr) == (real.returncode, real.stderr)
    assert forked.stdout.split("usage")[-1] == real.stdout.split("usage")[-1]


def test_two_programs_draw_different_numbers(tmp_path: Path) -> None:
    """What the operating system seeds is not shared by the forks of one server."""
    program = (
        "import random, tempfile, uuid, numpy, torch\n"
        "print(random.random(), numpy.random.rand(), torch.rand(1), uuid.uuid4(), tempfile.mktemp())"
    )
    first, second = (
        processes.run([sys.executable, "-c", program], tmp_path, os.environ).stdout.split() for _ in range(2)
    )
    assert len(first) == 5
    assert not [one for one, other in zip(first, second, strict=True) if one == other]


def wait_for(found: Callable[[], bool]) -> None:
    """Until it is found; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("real", [True, False], ids=["real", "forked"])
def test_it_is_a_child_that_can_be_stopped_interrupted_and_killed(tmp_path: Path, real: bool) -> None:
    """SIGSTOP, SIGCONT, SIGINT to its group and SIGKILL to its group, as the tests use them."""
    program = """
import os, subprocess, sys, time
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getppid(), helper.pid, flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", helper.wait(), flush=True)
time.sleep(60)
"""
    log = tmp_path / "log"
    with log.open("wb") as output:
        words, descriptor = [sys.executable, "-c", program], output.fileno()
        process = processes.start(words, tmp_path, os.environ, descriptor, new_session=True, real=real)
    wait_for(lambda: log.read_text().endswith("\n"))
    parent, helper = map(int, log.read_text().split())
    assert (parent, os.getsid(process.pid), os.getpgid(helper)) == (os.getpid(), process.pid, process.pid)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(0.1)  # the helper's interpreter has to be up to take SIGINT as Python does
    os.killpg(process.pid, signal.SIGINT)
    wait_for(lambda: "interrupted" in log.read_text())
    os.killpg(process.pid, signal.SIGKILL)
    assert (process.wait(10), process.poll(), process.returncode) == (-signal.SIGKILL,) * 3
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_terminal_is_a_terminal(tmp_path: Path) -> None:
    """Size, colours and line discipline are those of the terminal that it is given."""
    program = (
        "import os, sys; from rich.console import Console; c = Console(); w = os.get_terminal_size(1)\n"
        "print(sys.stdin.isatty(), sys.stdout.isatty(), w, c.is_terminal, c.width, c.color_system)"
    )
    words = [sys.executable, "-c", program]
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    shown = []
    for real in (True, False):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 77, 0, 0))
        process = (
            subprocess.Popen(words, cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
            if real
            else processes.fork(words, tmp_path, env, theirs, theirs, theirs)
        )
        os.close(theirs)
        shown.append(read_all(ours))
        assert process.wait() == 0
    assert shown[0] == shown[1]
    assert b"True True os.terminal_size(columns=77, lines=50) True 77" in shown[0]


def read_all(descriptor: int) -> bytes:
    """What comes from a terminal until its other end is closed."""
    found = b""
    try:
        while chunk := os.read(descriptor, 1 << 16):
            found += chunk
    except OSError:  # Linux says so of a terminal that nobody writes to any more
        pass
    os.close(descriptor)
    return found


def test_it_is_killed_after_its_time(tmp_path: Path) -> None:
    """A program that hangs fails its test instead of the whole run."""
    words = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(words, tmp_path, os.environ, timeout=0.5)


def test_coverage_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    """The same lines as in a real start inside `coverage_measured`, none outside."""
    (tmp_path / "module.py").write_text("import sys\nif len(sys.argv) > 5:\n    x = 1\ny = 2\n")
    (tmp_path / "rc").write_text(f"[run]\nparallel = true\ndata_file = {tmp_path}/data\n")
    outer = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    env = {**outer, "COVERAGE_PROCESS_START": str(tmp_path / "rc")}
    words = [sys.executable, "-c", "import sys; sys.path.insert(0, '.'); import module"]
    processes.run(words, tmp_path, env)
    assert not list(tmp_path.glob("data*"))
    lines = []
    for real in (True, False):
        with processes.coverage_measured():
            processes.run(words, tmp_path, env, real=real)
        (path,) = tmp_path.glob("data*")
        data = coverage.CoverageData(str(path))
        data.read()
        lines.append(data.lines(str(tmp_path / "module.py")))
        path.unlink()
    assert lines[0] == lines[1]
    assert set(lines[0] or ()) == {1, 2, 4}


def test_the_projects_own_programs_end_and_log_the_same(tmp_path: Path) -> None:
    """`kedro run`, refused, and a command: exit codes, output, and the records in the log."""
    project = copy_project(tmp_path)
    commands = [
        ["kedro", "run", "--params", "corpus.source=files,corpus.files.posts=missing.csv"],
        ["thriftune", "schema", "manifest"],
    ]
    for command in commands:
        words = [str(processes.BIN / command[0]), *command[1:]]
        seen = []
        for real in (True, False):
            done = processes.run(words, project, environment(project), real=real)
            seen.append((done.returncode, done.stdout, without_times(done.stderr), taken_records(project)))
        assert seen[0] == seen[1]


def taken_records(project: Path) -> list[tuple[str, str]]:
    """Level and message of what was logged; the logs are deleted."""
    records: list[dict[str, str]] = []
    for path in sorted(project.glob("logs/*.jsonl")):
        records += map(json.loads, path.read_text(encoding="utf-8").splitlines())
        path.unlink()
    return [(record["level"], record["message"]) for record in records]


def without_times(text: str) -> str:
    """Without what no two runs have in common."""
    return re.sub(r"\d\d:\d\d:\d\d|\d+(\.\d+)? s\b", "", text)
