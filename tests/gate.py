"""`make test`: style, types and docs beside the tests, then the coverage floor and a table of seconds.

    python -m tests.gate [--environment-seconds N] [words for pytest]

Exit code 1 where any stage fails; the output of a failed stage is shown at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
BESIDE = ("style", "types", "docs-check")
"""Make targets that run one after another while the tests run."""
COVERAGE_FLOOR_PERCENT = 95


@dataclass(frozen=True)
class Stage:
    """What one stage took, whether it passed, and what it printed."""

    name: str
    seconds: float
    passed: bool
    output: str = ""


def run_stage(name: str, words: Sequence[str], *, shown: bool = False) -> Stage:
    """Run a command to its end; its output is kept unless it is `shown` as it comes."""
    started = time.monotonic()
    kept = None if shown else subprocess.PIPE
    done = subprocess.run(list(words), stdout=kept, stderr=subprocess.STDOUT if kept else None, text=True)
    return Stage(name, time.monotonic() - started, done.returncode == 0, done.stdout or "")


def check_sources() -> list[Stage]:
    """Style, types and docs, through their make targets."""
    return [run_stage(name, ["make", "--silent", name]) for name in BESIDE]


def main() -> int:
    """Run every stage; 0 where all passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment-seconds", type=float, default=0.0)
    options, words = parser.parse_known_args()
    for path in Path().glob(".coverage*"):
        path.unlink()
    stages = [Stage("environment", options.environment_seconds, True)]
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(check_sources)
        tests = run_stage("tests", [str(BIN / "pytest"), *words], shown=True)
        floor = f"--fail-under={COVERAGE_FLOOR_PERCENT}"
        report = [str(BIN / "coverage"), "report", "--include=src/*", "--skip-covered", floor]
        stages += [*beside.result(), tests, run_stage("coverage", report)]
    for stage in stages:
        if stage.output and (not stage.passed or stage.name == "coverage"):
            print(f"--- {stage.name}\n{stage.output}")
    print(f"{'stage':<14}{'seconds':>8}")
    for stage in stages:
        beside_note = " (beside the tests)" if stage.name in BESIDE else ""
        print(f"{stage.name:<14}{stage.seconds:>8.0f}{'' if stage.passed else '  FAILED'}{beside_note}")
    return 0 if all(stage.passed for stage in stages) else 1


if __name__ == "__main__":
    sys.exit(main())
