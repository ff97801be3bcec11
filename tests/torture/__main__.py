"""Kill a study again and again; the same command must end the same.

    python -m tests.torture --kills 200 [--lanes 2] [--seed 0] [--folder build/torture] [--parallel-bytes 0]

A study of five trials is run once undisturbed. Then others like it are ended and begun again until they are
over, first once in each group of moments (tests/torture/groups.py), then in every kind of write, at instants
and in the very start that resumes. Each must equal the first. The last lines say which groups were met and
`n kills, m different`; what differs is kept. With `--parallel-bytes 0` every checkpoint is written and
verified as those of 64 MiB and more are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.conftest import copy_project
from tests.integration.outcome import outcome
from tests.preloaded import preload
from tests.torture.groups import ANY, BETWEEN, EARLY, GROUPS, End, Moment, aim, groups_of, next_group
from tests.torture.life import COUNTS, OUTPUT, forked, whole
from tests.torture.moment import END

LIVES = 12
"""Ends of one study, after which it is left to finish."""
WHOLE_SHARE = 0.2
"""Of the kills that go through the whole command, at least."""
TORN_SHARE = 0.8
"""Of the kills at a write, in the middle of its bytes."""
SIGNALLED = {130, -signal.SIGTERM, -signal.SIGINT}
"""Ends by SIGTERM or SIGINT: in order, or before the handlers are there."""


@dataclass
class Tally:
    """What a lane did."""

    kills: int = 0
    whole: int = 0
    signals: int = 0
    torn: int = 0
    timed: int = 0
    early: int = 0
    studies: int = 0
    tried: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    """Kinds at which it was ended."""
    groups: Counter[str] = field(default_factory=Counter)
    """Ends by the groups that they belong to."""
    different: list[str] = field(default_factory=list)

    def add(self, other: dict[str, Any]) -> None:
        """Add another lane's."""
        for name in ("kills", "whole", "signals", "torn", "timed", "early", "studies"):
            setattr(self, name, getattr(self, name) + other[name])
        self.met.update(other["met"])
        self.groups.update(other["groups"])
        self.different += other["different"]


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """The places in which two outcomes are not the same."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = sorted(expected.keys() | found.keys())
        return [
            line for key in keys for line in differences(expected.get(key), found.get(key), f"{where}/{key}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for n, (a, b) in pairs for line in differences(a, b, f"{where}/{n}")]
    return [] if expected == found else [f"{where}: {str(expected)[:80]} became {str(found)[:80]}"]


def plain(project: Path) -> Any:
    """The outcome as JSON has it."""
    return json.loads(json.dumps(outcome(project)))


@dataclass
class Lane:
    """One study after the other, each ended until enough ends were made."""

    folder: Path
    reference: dict[str, Any]
    kills: int
    random: random.Random
    parallel_bytes: int | None = None
    number: int = 0
    lanes: int = 1
    tally: Tally = field(default_factory=Tally)

    def run(self) -> None:
        """Until all kills are made and the last study is over."""
        while self.tally.kills < self.kills:
            self.tally.studies += 1
            parent = self.folder / f"study_{self.tally.studies:03d}"
            parent.mkdir(parents=True)
            project = new_project(parent, self.parallel_bytes)
            wrong = self._to_its_end(project)
            if wrong:
                self.tally.different.append(f"{project}: {'; '.join(wrong[:5])}")
            else:
                shutil.rmtree(parent)
            print(f"{self.tally.kills} of {self.kills} kills, {self.tally.studies} studies", flush=True)

    def _to_its_end(self, project: Path) -> list[str]:
        killed, history = False, []
        for life in range(LIVES + 1):
            last = life == LIVES or self.tally.kills >= self.kills
            moment, seconds = (Moment(), None) if last else self._draw(fresh=life == 0, after_kill=killed)
            # The whole command where its share of the kills is due.
            due = self.tally.whole < WHOLE_SHARE * (self.tally.kills + 1)
            code = (whole if due and not last else forked)(project, moment, seconds)
            history.append(f"{moment} {seconds} {code}")
            if code == 0:
                break
            if code == -signal.SIGKILL:
                self._count(project, moment, seconds, resumes=killed, through_all=due)
                killed = True
            elif code in SIGNALLED and moment.signals[0] != signal.SIGKILL:
                self.tally.signals += 1
                self._met(project, resumes=killed)
                killed = False
            else:
                return [f"ended with {code}, see {project / OUTPUT}", *history]
        else:
            return ["did not end", *history]
        found = differences(self.reference["outcome"], plain(project))
        return [*found, *history] if found else []

    def _draw(self, *, fresh: bool, after_kill: bool) -> tuple[Moment, float | None]:
        """(moment, or seconds after which it is killed from outside)."""
        group = next_group(set(self.tally.groups), fresh=fresh, resumes=after_kill)
        if group is not None:
            return aim(group, self.random), None
        kinds = self.reference["counts"]
        chance = self.random.random()
        if chance < 0.1:
            return Moment(), self.random.uniform(0.2, self.reference["seconds"] / 4)
        if chance < 0.3 and after_kill:
            return Moment(ANY, self.random.randint(1, EARLY)), None
        kind = min(sorted(kinds.keys() - {ANY, BETWEEN}), key=self._urgency)
        self.tally.tried[kind] += 1
        at = self.random.randint(1, max(1, round(kinds[kind] / 4)))
        # A study that begins meets every kind; one that goes on may be past it.
        latest = 0 if fresh else self.random.randint(EARLY, kinds[ANY])
        if chance > 0.92:
            ends = (signal.SIGTERM,) if chance > 0.96 else (signal.SIGINT, signal.SIGINT)
            return Moment(kind, at, latest, signals=ends), None
        return Moment(kind, at, latest, torn=self.random.random() < TORN_SHARE), None

    def _urgency(self, kind: str) -> tuple[int, int, bool, float]:
        """Kinds that were not met come first, those of this lane before the other's."""
        ours = zlib.crc32(kind.encode("utf-8")) % self.lanes == self.number
        return self.tally.met[kind], self.tally.tried[kind], not ours, self.random.random()

    def _met(self, project: Path, *, resumes: bool) -> End:
        """Count the kind at which the process ended, and its groups."""
        end = End(**json.loads((project / END).read_text(encoding="utf-8")))
        kept = any(project.glob("data/06_models/study_*/trials/*/checkpoints/epoch_*"))
        self.tally.met[end.kind] += 1
        self.tally.groups.update(groups_of(end, resumes=resumes, has_checkpoint=kept))
        return end

    def _count(
        self, project: Path, moment: Moment, seconds: float | None, *, resumes: bool, through_all: bool
    ) -> None:
        self.tally.kills += 1
        self.tally.whole += through_all
        if seconds is not None:
            self.tally.timed += 1
            return
        self.tally.torn += self._met(project, resumes=resumes).torn
        self.tally.early += moment.kind == ANY


def new_project(parent: Path, parallel_bytes: int | None) -> Path:
    """Return a copy of the project whose checkpoints are large from this size on; None: as in production."""
    project = copy_project(parent)
    if parallel_bytes is not None:
        catalog, policy = project / "conf/base/catalog.yml", "  policy: ${param:storage}\n"
        text = catalog.read_text(encoding="utf-8")
        assert policy in text, f"no entry of a checkpoint store in {catalog}"
        changed = text.replace(policy, f"{policy}  parallel_bytes: {parallel_bytes}\n")
        catalog.write_text(changed, encoding="utf-8")
    return project


def undisturbed(folder: Path, parallel_bytes: int | None) -> dict[str, Any]:
    """Outcome, counts by kind and seconds of a study that is left alone."""
    folder.mkdir(parents=True)
    project = new_project(folder, parallel_bytes)
    started = time.monotonic()
    code = forked(project, Moment())
    assert code == 0, (project / OUTPUT).read_text(encoding="utf-8")
    found = plain(project)
    states = {trial[1] for trial in found["trials"]}
    epochs = [len(trial[3]) for trial in found["trials"]]
    assert "PRUNED" in states, f"no trial is pruned: {states}"
    assert any(n < 4 and trial[1] == "COMPLETE" for n, trial in zip(epochs, found["trials"], strict=True)), (
        "no trial stops early"
    )
    counts = json.loads((project / COUNTS).read_text(encoding="utf-8"))
    return {"outcome": found, "counts": counts, "seconds": time.monotonic() - started}


def main() -> None:
    """See the module; exit code 1 where a study ended differently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("build/torture"))
    parser.add_argument("--parallel-bytes", type=int, help="size from which two files are written at a time")
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.absolute()
    os.environ["DO_NOT_TRACK"] = "1"
    if options.lane is not None:
        preload()
        run_lane(folder, options.lane, options.kills, options)
        return
    shutil.rmtree(folder, ignore_errors=True)
    preload()
    started = time.monotonic()
    reference = undisturbed(folder / "undisturbed", options.parallel_bytes)
    (folder / "reference.json").write_text(json.dumps(reference), encoding="utf-8")
    shares = [len(range(lane, options.kills, options.lanes)) for lane in range(options.lanes)]
    words = [sys.executable, "-m", "tests.torture", "--folder", str(folder)]
    words += ["--seed", str(options.seed), "--lanes", str(options.lanes)]
    if options.parallel_bytes is not None:
        words += ["--parallel-bytes", str(options.parallel_bytes)]
    others = [
        subprocess.Popen([*words, "--lane", str(lane), "--kills", str(kills)])
        for lane, kills in enumerate(shares)
        if lane > 0
    ]
    run_lane(folder, 0, shares[0], options)
    codes = [lane.wait() for lane in others]
    tally = Tally()
    for lane in range(options.lanes):
        tally.add(json.loads((folder / f"lane_{lane}.json").read_text(encoding="utf-8")))
    print(
        f"seed {options.seed}, {time.monotonic() - started:.0f} s, {tally.studies} studies of "
        f"{reference['seconds']:.0f} s; ended at {len(tally.met)} of {len(reference['counts']) - 2} kinds of "
        f"writes; of the kills {tally.whole} through the whole command, {tally.torn} in the middle of a "
        f"write, {tally.timed} at an instant, {tally.early} within a start; beside them {tally.signals} ends "
        "by SIGTERM or SIGINT"
    )
    missing = [group for group in GROUPS if not tally.groups[group]]
    print("groups met: " + ", ".join(f"{group} {n}" for group in GROUPS if (n := tally.groups[group])))
    print("groups not met: " + (", ".join(missing) or "none"))
    for line in tally.different:
        print(line)
    print(f"{tally.kills} kills, {len(tally.different)} different")
    raise SystemExit(0 if not tally.different and not any(codes) else 1)


def run_lane(folder: Path, number: int, kills: int, options: argparse.Namespace) -> None:
    """Make a lane's kills, and write down what it did."""
    reference = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    drawn = random.Random(f"{options.seed}:{number}")
    place, large = folder / f"lane_{number}", options.parallel_bytes
    lane = Lane(place, reference, kills, drawn, large, number, options.lanes)
    lane.run()
    (folder / f"lane_{number}.json").write_text(json.dumps(vars(lane.tally)), encoding="utf-8")


if __name__ == "__main__":
    main()
