"""The whole command, killed before the n-th of its operations."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import SMALL, python

# The whole command in a process that counts its file operations, metric rows (one append a step) and
# Optuna's writes, and kills itself before the n-th.
PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from thriftune import files
count, at = 0, int(sys.argv[1])
def observe(event):
    global count
    if threading.current_thread() is not threading.main_thread():
        return  # the sender's writes come when they come
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
files.observer = observe
sys.argv = ["kedro", "run", "--pipelines", "hpo", "--params", sys.argv[2]]
from kedro.framework.cli import main
try:
    main()
finally:
    Path("operations").write_text(str(count))
"""
PARAMS = SMALL + ",training.accumulation=2,training.batch_size=8,tracking.log_every_steps=1"


def command(project: Path, kill_at: int) -> int:
    """Run it, killed before an operation (0: never); its exit code, or minus the signal."""
    done = python(project, PROGRAM, str(kill_at), PARAMS)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode
