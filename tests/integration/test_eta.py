"""The time left, in a real study whose pruner and early stopping shorten trials, interrupted midway."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from tests.conftest import small_parameters, write_small_tables
from tests.support.studies import parts

from thriftune.corpus.ingestion import ingest
from thriftune.observe.progress import eta_seconds
from thriftune.runner.run import run_search
from thriftune.study.layout import journals_of
from thriftune.tracking.keys import EPOCH_SECONDS, TOTAL
from thriftune.tracking.records import last_machine_rows, read_metrics, trial_seconds
from thriftune.tracking.study_progress import StudyProgressLog
from thriftune.units import human_seconds

pytestmark = [pytest.mark.integration, pytest.mark.no_cover, pytest.mark.timeout(600)]
EPOCHS = 6
SPACE = {
    "training.learning_rate": {"type": "float", "low": 1e-4, "high": 2e-2, "log": True},
    "training.batch_size": {"type": "int", "low": 4, "high": 16, "step": 4},
}


@pytest.mark.parametrize(
    ("trials", "posts"),
    [
        pytest.param(30, 40, id="30 trials, 40 posts"),
        pytest.param(60, 90, id="60 trials, 90 posts", marks=pytest.mark.slow),
    ],
)
def test_the_time_left_is_right_from_a_tenth_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trials: int, posts: int
) -> None:
    """Within 30 % of what the study took in all, at every trial; of what was left, as long as a third was.

    Counted in epochs over the same posts, the same on every machine: how quick one is may change with what
    else the machine does (and a step of 4 posts is not as long as one of 16). That terminal and MLflow say
    the same of seconds is looked at beside it.
    """
    write_small_tables(tmp_path, posts)
    parameters = small_parameters(
        tmp_path,
        study={"name": "eta", "trials": trials},
        training={"epochs": EPOCHS, "early_stopping_patience": 2},
        search={"pruner": "median", "pruner_startup_trials": 3, "space": SPACE},
    )
    corpora, study, store = parts(parameters)
    corpus = ingest(parameters.corpus, corpora, lambda line: None)
    with caplog.at_level(logging.INFO, logger="thriftune"):
        first = run_search(parameters, corpus, study, store)
        for count, checkpoint in enumerate(first):
            store.submit(checkpoint)
            if count == EPOCHS * trials // 8:
                break
        first.close()  # type: ignore[attr-defined]
        for checkpoint in run_search(parameters, corpus, study, store):
            store.submit(checkpoint)
    journals = journals_of(study.folder)
    epochs = [
        float(max(r.step for r in read_metrics(p) if r.key == EPOCH_SECONDS)) for p in journals.values()
    ]
    assert len(epochs) == trials
    assert len(set(epochs)) > 3, "neither the pruner nor early stopping shortened a trial"
    assert any("resumes after epoch" in line for line in caplog.messages), "no trial was interrupted"
    for over in range(trials // 10, trials):
        eta, left = eta_seconds(epochs[:over], trials - over), sum(epochs[over:])
        assert 0.7 <= (sum(epochs[:over]) + eta) / sum(epochs) <= 1.3, f"after {over} trials"
        if over <= trials * 2 // 3:
            print(f"after {over} trials: {eta / left:.2f} of what was left")
            assert 0.65 <= eta / left <= 1.35, f"after {over} trials"
    said = [found.group(1) for line in caplog.messages if (found := re.search(r"about (.+) left", line))]
    taken = [trial_seconds(path) or 0.0 for path in journals.values()]
    assert all(TOTAL in last_machine_rows(path) for path in journals.values())
    etas = [eta_seconds(taken[:over], trials - over) for over in range(1, trials + 1)]
    assert said == [human_seconds(eta) for eta in etas[:-1]]  # none is said when all are over
    reached = StudyProgressLog().at(journals, trials // 2, trials)
    assert reached is not None
    assert reached.eta_seconds == pytest.approx(etas[trials // 2])
