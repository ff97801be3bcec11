"""What the framework itself spends on trial 10, 100 and 1,000, against a bare Optuna loop in the same run.

    python -m benchmarks.trials [--around 10]

Real trials of a tiny encoder, `around` of them about each number, in one study; those between are given to
it as a past: folders, journals and configurations as real ones leave them, restored to Optuna by the search
itself. The loop asks, suggests, reports and tells on the same kind of storage, with the same sampler, space
and number of trials before.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import optuna
from tests.conftest import small_parameters, write_small_tables
from tests.history import lengthen

from benchmarks.limits import GROWTH_LIMIT, OWN_LIMIT_SECONDS
from benchmarks.rows import Row, write
from thriftune.config import Parameters
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.store import CorpusStore
from thriftune.reports.trial_costs import read_trial_costs
from thriftune.runner.run import run_search
from thriftune.search.samplers import sampler_for
from thriftune.search.space import sample
from thriftune.search.storage import is_known
from thriftune.study.handle import StudyHandle
from thriftune.study.layout import journals_of
from thriftune.study.storage import open_store

ROOT = Path(__file__).parents[1]
NUMBERS = (10, 100, 1000)


def parameters(root: Path, trials: int) -> Parameters:
    """A study of so many trials of a tiny encoder."""
    return small_parameters(
        root,
        study={"name": "bench", "trials": trials, "extend": True},
        storage={"root": str(root / "models"), "max_total_size": "1GB", "free_disk_watermark": 0.0},
    )


def run(settings: Parameters) -> Path:
    """The search to its last trial, driven as the catalog drives it; the study's folder."""
    study = StudyHandle(settings.study.name, Path(settings.storage.root), Path(settings.tracking.root))
    shared = [Path(settings.corpus.root), Path(settings.corpus.cache), Path(settings.tracking.root)]
    store = open_store(study.folder, study.id, settings.storage, shared)
    corpus = ingest(settings.corpus, CorpusStore(Path(settings.corpus.root)), lambda line: None)
    for checkpoint in run_search(settings, corpus, study, store):
        store.submit(checkpoint)
    return study.folder


def own_seconds(root: Path, number: int, around: int) -> float:
    """The framework's own seconds of trials about a number: their median. As many are run before and not
    counted: beside the first ones of a process its sender looks through the journals of all others."""
    last = number + around // 2
    settings = parameters(root, last)
    study = StudyHandle(settings.study.name, Path(settings.storage.root), Path(settings.tracking.root))
    if is_known(study):
        lengthen(settings, study, last - 2 * around)
    found = read_trial_costs(journals_of(run(settings)), settings.storage.max_total_size)
    assert list(found.trials[-around:]) == list(range(last - around, last))
    return statistics.median(found.own_seconds[-around:])


def bare_seconds(root: Path, number: int, around: int) -> float:
    """Seconds of a trial about a number in an Optuna loop, its value a function of the configuration: the
    median."""
    settings = parameters(root, number)
    study = optuna.create_study(storage=f"sqlite:///{root}/bare-{number}.db", direction="maximize")
    past = optuna.create_study()
    for each in range(number - around // 2):
        past.sampler = optuna.samplers.RandomSampler(seed=each)
        asked = past.ask()
        sample(asked, settings.search.space, settings.model_dump())
        for epoch in range(settings.training.epochs):
            asked.report(0.5, epoch + 1)
        past.tell(asked, asked.params["training.learning_rate"])
    study.add_trials(past.get_trials(deepcopy=False))
    study.sampler = sampler_for(settings.search, settings.study.seed, number)
    took = []
    for _ in range(around):
        started = time.perf_counter()
        trial = study.ask()
        sample(trial, settings.search.space, settings.model_dump())
        for epoch in range(settings.training.epochs):
            trial.report(0.5, epoch + 1)
            trial.should_prune()
        study.tell(trial, trial.params["training.learning_rate"])
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def main() -> None:
    """Measure, print, and add the rows to build/bench.json; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--around", type=int, default=10)
    around = parser.parse_args().around
    rows: list[Row] = []
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        root = Path(folder)
        write_small_tables(root)
        os.chdir(root)
        try:
            for number in NUMBERS:
                bare, own = bare_seconds(root, number, around), own_seconds(root, number, around)
                ok = own <= OWN_LIMIT_SECONDS and (not rows or own <= GROWTH_LIMIT * rows[0].value)
                target = f"<= {OWN_LIMIT_SECONDS} s" + (f", <= {GROWTH_LIMIT} x trial 10" if rows else "")
                rows.append(Row(f"trial_overhead/{number}", own, "s", bare, own / bare, target, ok))
        finally:
            os.chdir(ROOT)
    write(rows)
    raise SystemExit(0 if all(row.ok for row in rows) else 1)


if __name__ == "__main__":
    main()
