"""The tutorial, run as it stands."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import Run

pytestmark = pytest.mark.integration
TUTORIAL = Path(__file__).parents[2] / "docs/tutorial.md"


def commands(block: str) -> Iterator[list[str]]:
    """A block's commands: a line that calls Kedro or our own program by itself, so that it can be forked, and
    the lines between for the shell."""
    shell: list[str] = []
    for line in block.splitlines():
        if re.match(r"(kedro|thriftune) ", line):
            if shell:
                yield ["/bin/bash", "-e", "-c", "\n".join(shell)]
                shell = []
            yield shlex.split(line)
        else:
            shell.append(line)
    if shell:
        yield ["/bin/bash", "-e", "-c", "\n".join(shell)]


def test_the_tutorial_does_what_it_says(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block's commands succeed, and print the lines that are shown below, in that order."""
    blocks = re.findall(r"```(bash|text)\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks].count("bash") == 7
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name in ("posts.csv", "annotations.csv"):
        (project / name).unlink(missing_ok=True)
    printed = ""
    for kind, text in blocks:
        if kind == "bash":
            printed = ""
            for words in commands(text):
                done = run(*words)
                assert done.returncode == 0, done.stdout + done.stderr
                printed += done.stdout + done.stderr
        else:
            pieces = [re.escape(piece) for piece in re.split(r"\.\.\.|\n", text.strip())]
            assert re.search(".*?".join(pieces), printed, re.DOTALL), printed
