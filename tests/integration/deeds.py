"""The whole command, with something done just before the n-th of an operation."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.integration.conftest import SMALL, python

# Before the n-th of an operation of the main thread something happens to the store.
PROGRAM = """
import json, os, sys, threading
from collections import Counter
from pathlib import Path
from thriftune import files
deeds, counts = json.loads(sys.argv[1]), Counter()
def observe(event):
    if threading.current_thread() is not threading.main_thread():
        return
    counts[event.operation] += 1
    counts[event.operation + " " + event.path.name] += 1
    for moment, at, deed, first, second in deeds:
        if counts[moment] == at and moment in (event.operation, event.operation + " " + event.path.name):
            if deed == "kill":
                os.kill(first or os.getpid(), second)
            elif deed == "raise":
                raise RuntimeError(first)
            elif deed == "write":
                Path(first).write_text(second)
            else:
                for path in Path("data/tracking").glob("mlflow.db*"):
                    path.unlink()
files.observer = observe
sys.argv = ["kedro", "run", "--pipelines", "hpo", "--params", sys.argv[2]]
from kedro.framework.cli import main
main()
"""
Deed = tuple[str, int, str, Any, Any]
"""(operation, or that and a file name; its n-th; kill, raise, write or unlink; pid and signal, words, or file
and text)."""


def run(project: Path, extra: str = "", *deeds: Deed) -> subprocess.CompletedProcess[str]:
    """`kedro run` with SMALL and more parameters; deeds of the main thread's operations."""
    return python(project, PROGRAM, json.dumps(deeds), SMALL + extra)
