"""One study of very many real trials by `kedro run --pipeline hpo`, killed on the way; what must hold of it.

    python -m tests.many_trials --trials 1000 --kills 10 [--folder build/thousand]

Both agents of a tiny encoder are trained on a part of the sample. Checked is that what each trial cost kept
its limits, and how far the time left on the terminal was from what it was.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from benchmarks.limits import checks

from tests.conftest import TINY
from tests.integration.conftest import copy_project, thriftune
from tests.integration.team import NAME, Worker, check_journals, check_mlflow
from thriftune.reports.trial_costs import TrialCosts, read_trial_costs

BUDGET_BYTES = 200_000_000
SETTINGS: dict[str, Any] = {
    "corpus": {"source": "files", "files": {"posts": "posts.csv", "annotations": "annotations.csv"}},
    "encoder": "tiny",
    "encoders": {"tiny": TINY},
    "training": {"epochs": 2, "batch_size": 8, "max_length": 64, "overlap": 8, "threads": 1},
    "evaluation": {"bootstrap_samples": 50},
    "search": {
        "pruner": "median",
        "space": {
            "training.learning_rate": {"type": "float", "low": 1e-3, "high": 2e-2, "log": True},
            "training.batch_size": {"type": "int", "low": 8, "high": 16, "step": 4},
            "model.criteria_agent.loss": {"type": "categorical", "choices": ["bce", "focal"]},
        },
    },
}
STARTS = r"trial (\d+) \(.*\): starts$"
DONE = re.compile(r"^(\d\d):(\d\d):(\d\d) trial (\d+) .*; about (\d+) (s|min|h)(?: (\d+) min)? left$", re.M)
UNITS = {"s": 1, "min": 60, "h": 3600}


@dataclass
class Story:
    """How a study went."""

    project: Path
    trials: int
    seconds: float = 0.0
    killed_after: list[int] = field(default_factory=list)
    """The trials in which the process was killed."""
    said: str = ""

    @property
    def study(self) -> Path:
        """The study's folder."""
        (found,) = self.project.glob("data/06_models/study_*")
        return found

    def time_left(self) -> list[float]:
        """What the terminal said was left against what it was, a ratio a trial, from a tenth of the study on
        to nine tenths. Not counted is the time from a kill until the next trial is over."""
        ends: dict[int, tuple[float, float]] = {}
        for *clock, number, value, unit, minutes in DONE.findall(self.said):
            hours, mins, secs = map(int, clock)
            left = int(value) * UNITS[unit] + 60 * int(minutes or 0)
            ends[int(number)] = hours * 3600 + mins * 60 + secs, left
        order = sorted(ends)
        took = {number: (ends[number][0] - ends[before][0]) % 86400 for before, number in pairwise(order)}
        for number in self.killed_after:
            took.pop(number, None)
        typical = median(took.values())
        last = self.trials - 1
        return [
            ends[number][1] / sum(took.get(later, typical) for later in range(number + 1, last + 1))
            for number in range(self.trials // 10, self.trials * 9 // 10)
            if number in ends
        ]


def live(folder: Path, trials: int, kills: int, seed: int = 0) -> Story:
    """Run the study to its end, killed (SIGKILL) so many times on the way, at any moment of a trial."""
    project = copy_project(folder)
    settings = {
        **SETTINGS,
        "study": {"name": NAME, "trials": trials},
        "storage": {"max_total_size": BUDGET_BYTES},
    }
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    story, chance = Story(project, trials), random.Random(seed)
    started = time.monotonic()
    for after in sorted(chance.sample(range(2, trials - 1), kills)):
        worker = Worker(project, 0)
        worker.until(rf"trial {after} \(.*\): (starts|resumes)", 24 * 3600)
        time.sleep(chance.uniform(0.0, 1.0))
        worker.kill()
        story.killed_after.append(int(re.findall(STARTS, worker.said, re.MULTILINE)[-1]))
    worker = Worker(project, 0)
    code = worker.end(24 * 3600)
    story.seconds, story.said = time.monotonic() - started, worker.said
    assert code == 0, worker.said[-5000:]
    return story


def check(story: Story) -> TrialCosts:
    """Every trial run once and recorded everywhere, one test evaluation; what the trials cost."""
    shown = thriftune(story.project, "study", "show", NAME, "--json")
    assert shown.returncode == 0, shown.stderr
    rows = json.loads(shown.stdout)["trials"]
    assert [row["trial"] for row in rows] == list(range(story.trials))
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    journals = {
        int(path.parent.name.split("_")[1]): path for path in story.study.glob("trials/*/metrics.jsonl")
    }
    assert journals.keys() == set(range(story.trials))
    check_journals(journals)
    check_mlflow(f"sqlite:///{story.project}/data/tracking/mlflow.db", journals)
    evaluation = json.loads((story.study / "evaluation.json").read_text(encoding="utf-8"))
    assert len(evaluation["evaluations"]) == 1
    found = read_trial_costs(dict(sorted(journals.items())), BUDGET_BYTES)
    assert found.trials == tuple(range(story.trials))
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Live, check, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(words)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="many-trials-"))
    folder.mkdir(parents=True, exist_ok=True)
    story = live(folder, given.trials, given.kills, given.seed)
    print(f"{given.trials} trials in {story.seconds / 3600:.2f} h, killed in {story.killed_after}")
    found = check(story)
    for each in checks(found):
        value = "too few trials" if each.value is None else f"{each.value:.3g}"
        print(f"{'NO' if each.ok is False else 'ok'}  {each.name}: {value} (at most {each.limit})")
    print("medians of ten trials: about trial 10, at a tenth, at half, at the end")
    for name in ("own_seconds", "trial_seconds", "memory_bytes", "held_bytes", "open_files", "threads"):
        values = getattr(found, name)
        shown = [median(values[at : at + 10]) for at in (5, len(values) // 10, len(values) // 2)]
        print(f"  {name}: {', '.join(f'{value:.4g}' for value in [*shown, median(values[-10:])])}")
    ratios = sorted(story.time_left())
    within = sum(0.7 <= ratio <= 1.3 for ratio in ratios) / len(ratios)
    print(f"time left, from a tenth to nine tenths: {within:.1%} of trials within 30 %")
    print(f"  {ratios[0]:.2f} to {ratios[-1]:.2f} of what it was")


if __name__ == "__main__":
    main()
