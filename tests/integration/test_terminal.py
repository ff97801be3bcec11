"""What a person sees: on a terminal, narrow and wide, and in a file."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pyte
import pytest
from tests import processes
from tests.integration.conftest import SMALL, copy_project
from tests.integration.servers import BIN

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
WORDS = ("run", "--pipelines", "hpo", "--params", SMALL)
ROWS = 100
BAR = "━"
MOMENT = re.compile(r"\d\d:\d\d:\d\d ")
LAST = "every run with its curves: make mlflow; every trial: thriftune study show small"


def environment(project: Path, **more: str) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    return {
        **plain,
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(project / "src"),
        **more,
    }


def on_a_terminal(project: Path, columns: int, **more: str) -> bytes:
    """All that the command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    command = [str(BIN / "kedro"), *WORDS]
    with subprocess.Popen(
        command,
        cwd=project,
        env=environment(project, TERM="xterm-256color", **more),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as started:
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
    assert started.returncode == 0, written.decode(errors="replace")
    return written


def screen(written: bytes, columns: int) -> list[str]:
    """The lines that stand there in the end, as wide as the terminal."""
    shown = pyte.Screen(columns, ROWS)
    pyte.ByteStream(shown).feed(written)
    return list(shown.display)


@pytest.mark.parametrize(
    ("columns", "colour"), [(80, True), pytest.param(200, False, marks=pytest.mark.slow)]
)
def test_a_terminal_keeps_whole_lines_and_no_trace_of_the_live_one(
    tmp_path: Path, columns: int, colour: bool
) -> None:
    """While it runs a line lives at the bottom, never wider than the terminal; in the end only the log stands
    there, and last the figures and what to open. With NO_COLOR the live line has no colour."""
    written = on_a_terminal(copy_project(tmp_path), columns, **({} if colour else {"NO_COLOR": "1"}))
    assert BAR.encode() in written
    assert (re.search(rb"\x1b\[[\d;]*3\d", written) is not None) is colour
    lines = screen(written, columns)
    assert [line for line in lines if BAR in line] == []
    assert sum(MOMENT.match(line) is not None for line in lines) >= 12
    told = " ".join("".join(lines).split())  # the terminal itself breaks a line that is too long
    assert LAST in told
    assert re.search(r"test, 13 posts: Criteria F1 \(macro\) \d\.\d{3} \(\d", told)
    assert "trial 1 (2 of 2): starts" in told


def test_a_file_gets_plain_lines(tmp_path: Path) -> None:
    """No escape code, no live line, each line with its moment; nothing on standard output; the last three say
    what came out."""
    project = copy_project(tmp_path)
    done = processes.run([str(BIN / "kedro"), *WORDS], project, environment(project))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert BAR not in done.stderr
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if not MOMENT.match(line)] == []
    test, page, rest = (line[9:] for line in lines[-3:])
    assert test.startswith("test, 13 posts: ")
    assert (project / page.removeprefix("evaluation: ")).is_file()
    assert rest == LAST
