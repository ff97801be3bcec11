"""One life of a study: the command from its start to its end, or to the moment that was chosen for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.integration.conftest import SMALL
from tests.torture.groups import Moment
from tests.torture.moment import Countdown

PARAMS = (
    f"{SMALL},study.trials=5,training.epochs=4,training.accumulation=2,training.batch_size=8"
    ",training.early_stopping_patience=1,training.schedule=cosine,tracking.log_every_steps=1"
    ",search.startup_trials=2,search.pruner=median,search.pruner_startup_trials=1,search.pruner_warmup_epochs=0"
)
"""Both agents, dropout, early stopping, a pruner, accumulation, a schedule, TPE from the third trial on."""
COMMAND = ["kedro", "run", "--pipelines", "hpo", "--params", PARAMS]
COUNTS, OUTPUT = "counts.json", "output.log"
LONGEST_SECONDS = 600


def live(moment: Moment) -> None:
    """Run the command in this process, which ends at the moment; what it counted is left in COUNTS where it
    comes to its end."""
    countdown = Countdown(moment)
    countdown.install()
    sys.argv = list(COMMAND)
    from kedro.framework.cli import main

    try:
        main()
    finally:
        Path(COUNTS).write_text(json.dumps(countdown.counts), encoding="utf-8")


def forked(project: Path, moment: Moment, kill_after: float | None = None) -> int:
    """A life in a process that is forked from this one; its exit code, or minus the signal."""
    child = os.fork()
    if child == 0:
        _begin(project)
        code = 1
        try:
            live(moment)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads that are no daemons end as they would at an interpreter's end.
        os._exit(code)
    return _await(child, kill_after)


def whole(project: Path, moment: Moment, kill_after: float | None = None) -> int:
    """A life in a new interpreter, as the user starts it; its exit code, or minus the signal."""
    program = [str(Path(sys.executable).parent / "kedro"), *COMMAND[1:]]
    if moment.at:
        program = [sys.executable, "-m", "tests.torture.life", json.dumps(asdict(moment))]
    with (project / OUTPUT).open("ab") as output:
        path = os.pathsep.join([str(project / "src"), str(Path(__file__).parents[2])])
        child = subprocess.Popen(
            program, cwd=project, env={**os.environ, "PYTHONPATH": path}, stdout=output, stderr=output
        )
    code = _await(child.pid, kill_after)
    child.returncode = code
    return code


def _begin(project: Path) -> None:
    os.chdir(project)
    output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _await(child: int, kill_after: float | None) -> int:
    """Wait for a child; SIGKILL after so many seconds, and an error where it takes far too long."""
    started = time.monotonic()
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        waited = time.monotonic() - started
        if waited > (LONGEST_SECONDS if kill_after is None else kill_after):
            os.kill(child, signal.SIGKILL)
            kill_after = float("inf")
        time.sleep(0.01)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    live(Moment(**{**given, "signals": tuple(given["signals"])}))
