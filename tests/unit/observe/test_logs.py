"""Every line of a log is whole and valid: of many writers, after a kill, on a full disk."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.unit

BEGIN = """
import logging, os, resource, sys, threading, time
from pathlib import Path
from thriftune.observe.logs import log_context, log_place, set_up_logs
from thriftune.observe.sanitiser import Sanitiser
path = set_up_logs(Path(sys.argv[1]), Sanitiser())
log = logging.getLogger("x")
"""
NASTY = 'one\ntwo\r\n\u2028\u2029\x85\x0b\x0c\x00 "quoted" \\ é 漢 🙂 \ud83d ' + "long " * 1000


def begin(program: str, folder: Path, *words: str) -> subprocess.Popen[str]:
    """A process with a log in a folder."""
    command = [sys.executable, "-c", BEGIN + program, str(folder), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Every line of every log, read as a reader does that knows of no other line end."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return [json.loads(line) for line in lines]


LOAD = """
text = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
def write(writer):
    with log_context(study="s", trial=writer):
        for number in range(10):
            log_place(epoch=1, step=number)
            try:
                raise ValueError(text)
            except ValueError:
                log.exception("%s %s", number, text)
child = os.fork()
threads = [threading.Thread(target=write, args=(n + 4 * (child == 0),)) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if child:
    os.waitpid(child, 0)
"""


def test_lines_of_many_writers_stay_whole(tmp_path: Path) -> None:
    """Eight threads of two processes that share the file, long tracebacks with line ends of every kind, other
    scripts and half a character: each line is there once, as it was said."""
    command = [sys.executable, "-c", BEGIN + LOAD, str(tmp_path)]
    given = NASTY.encode("utf-8", "surrogatepass")
    subprocess.run(command, input=given, stderr=subprocess.DEVNULL, check=True)
    lines = lines_of(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert sorted((line["trial"], line["step"]) for line in lines) == [
        (writer, number) for writer in range(8) for number in range(10)
    ]
    for line in lines:
        assert list(line) == [
            *("timestamp", "level", "message", "component", "study", "trial", "epoch", "step")
        ]
        assert line["message"].startswith(f"{line['step']} {NASTY}\nTraceback (most recent call last):\n")
        assert line["message"].endswith(f"ValueError: {NASTY}")


# A line that takes the system long to write, and no time to make: nothing is masked.
LONG = """
terminal, file = logging.getLogger().handlers
logging.getLogger().removeHandler(terminal)
file.setFormatter(logging.Formatter('{"message": "%(message)s"}'))
log.info("first")
print(path.read_text(), end="", flush=True)
log.info("x" * int(sys.argv[2]))
"""
SIZE = 100_000_000


def test_a_torn_last_line_is_cut_at_the_next_start(tmp_path: Path) -> None:
    """SIGKILL in the middle of a write: the lines before it stand, and every line is valid again once another
    process logs. A log that is still being written is let be."""
    for _ in range(10):  # a busy machine may let the whole write pass before this process looks again
        with begin(LONG, tmp_path, str(SIZE)) as writer:
            assert writer.stdout is not None
            first = len(writer.stdout.readline())
            (path,) = tmp_path.glob("*.jsonl")
            while path.stat().st_size <= first and writer.poll() is None:
                time.sleep(0.0005)
            writer.kill()
        torn = path.read_bytes()
        if not torn.endswith(b"\n"):
            break
        path.unlink()
    assert first < len(torn) < SIZE, "no kill came in the middle of a write"
    held = tmp_path / "held.jsonl"
    hold = "log.info('mine'); os.rename(path, sys.argv[2]); print('ready', flush=True); time.sleep(60)"
    with begin(hold, tmp_path / "elsewhere", str(held)) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with held.open("ab") as handle:
            handle.write(b"half a li")  # as one sees it while the other writes
        assert begin("log.info('next')", tmp_path).wait() == 0
        assert held.read_bytes().endswith(b"half a li")
        holder.kill()
    assert path.read_bytes() == torn[: torn.rindex(b"\n") + 1]
    assert begin("log.info('last')", tmp_path).wait() == 0
    assert [line["message"] for line in lines_of(tmp_path)][-3:] == ["next", "last", "mine"]


FULL = """
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
log.info("before")
limit(1000)
for number in range(20):
    log.info("%d %s", number, "x" * 150)
limit(resource.RLIM_INFINITY)
log.info("after")
"""


def test_without_room_lines_are_dropped_whole(tmp_path: Path) -> None:
    """The system takes part of a line and no more: nothing ends, and once there is room the log goes on."""
    assert begin(FULL, tmp_path).wait() == 0
    said = [line["message"].split()[0] for line in lines_of(tmp_path)]
    assert said[0] == "before"
    assert said[-1] == "after"
    assert 0 < len(said) - 2 < 20


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    """A file stands in its place, say: the terminal has the lines."""
    (tmp_path / "file").touch()
    command = [sys.executable, "-c", BEGIN + "log.info('said')", str(tmp_path / "file" / "logs")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.endswith("said\n")


STRAY = """
def die():
    raise ValueError("hf_" + "aB3" * 10)
thread = threading.Thread(target=die, name="stray")
thread.start()
thread.join()
log.info("%d of", "many")
"""


def test_what_escapes_a_thread_or_fits_no_format_is_logged(tmp_path: Path) -> None:
    """On terminal and file, without secrets: a thread's own exception, arguments that do not fit."""
    command = [sys.executable, "-c", BEGIN + STRAY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    escaped, misfit = lines_of(tmp_path)
    assert escaped["message"].startswith("the thread stray died\nTraceback")
    assert misfit["message"] == "%d of ('many',)"
    for line in (escaped, misfit):
        assert line["message"] in done.stderr
    assert "hf_aB3" not in escaped["message"] + done.stderr
