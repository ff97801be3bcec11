"""Several processes start at once where nothing is yet: what they share is made once, nobody sees half."""

from __future__ import annotations

import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests import processes
from tests.conftest import write_small_tables
from tests.integration.conftest import ROOT, SMALL
from tests.integration.servers import process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

# Each step is begun by all processes at the same instant: a process waits for the notes of all others.
TOGETHER = """
import logging, sys, time
from pathlib import Path
from tests.conftest import small_parameters
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.store import CorpusStore
from thriftune.corpus.tokens import TokenisedStore
from thriftune.datasets.report_dataset import JSONReportDataset
from thriftune.training.inputs import encoder_for, rows_of
from thriftune.tracking.parent import connect
root, own, processes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
def together(step):
    notes = root / step
    notes.mkdir(exist_ok=True)
    (notes / own).touch()
    deadline = time.monotonic() + 120
    while len(list(notes.iterdir())) < processes:
        if time.monotonic() > deadline:
            sys.exit("another process is gone")
        time.sleep(0.001)
parameters = small_parameters(root)
store = CorpusStore(Path(parameters.corpus.root))
report = JSONReportDataset(filepath=str(root / "report.json"))
for step in range(3):
    together(f"ingest {step}")
    corpus = ingest(parameters.corpus, store, print)
    together(f"current {step}")
    store.set_current(corpus)
    report.save({"step": step})
    together(f"encoder {step}")
    encoder = encoder_for(parameters, corpus)
    together(f"tokens {step}")
    rows_of(parameters, corpus, encoder, "train")
    together(f"connect {step}")
    connect(parameters).parent_run(f"study-{step}", "s")
    training = parameters.training.model_copy(update={"max_length": 64 - step - 1})
    model = parameters.encoders["tiny"].model_copy(update={"vocabulary_size": 500 + step})
    alignment = parameters.corpus.model_copy(update={"alignment_threshold": 71 + step})
    parameters = parameters.model_copy(
        update={"training": training, "encoders": {"tiny": model}, "corpus": alignment}
    )
"""
PROCESSES = 3


def test_what_processes_share_is_made_once(tmp_path: Path) -> None:
    """Corpus, note of the current one, tokenizer, tokens, a report, MLflow's store and the study's run in it,
    three times over."""
    write_small_tables(tmp_path)
    words = [sys.executable, "-c", TOGETHER, str(tmp_path)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        done = list(
            pool.map(
                lambda number: processes.run([*words, str(number), str(PROCESSES)], ROOT, os.environ),
                range(PROCESSES),
            )
        )
    assert [each.returncode for each in done] == [0] * PROCESSES, "".join(each.stderr for each in done)
    said = "".join(each.stdout for each in done)
    assert said.count("tokenised") == 3
    with closing(sqlite3.connect(tmp_path / "tracking/mlflow.db")) as database:
        assert database.execute("select count(*) from runs").fetchone() == (3,)


def test_the_main_job_started_twice_at_once(project: Path) -> None:
    """On a fresh checkout, for one study twice and for another: of the two, one does it and one is told whose
    it is; nobody ends with a traceback, and MLflow has one run a study and a trial."""
    names = ("small", "small", "other")
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                process(project, f"{number}", "kedro", "run", "--params", f"{SMALL},study.name={name}")
            )
            for number, name in enumerate(names)
        ]
        for each in started:
            each.wait(timeout=500)
        said = [(project / f"{number}.log").read_text(encoding="utf-8") for number in range(len(names))]
        codes = [each.returncode for each in started]
    assert (sorted(codes[:2]), codes[2]) == ([0, 2], 0), "".join(said)
    for code, text in zip(codes, said, strict=True):
        assert "Traceback" not in text, text
        assert ("another process is working on this study" in " ".join(text.split())) == (code == 2)
        assert "MLflow's store cannot be used" not in text
    with closing(sqlite3.connect(project / "data/tracking/mlflow.db")) as database:
        query = "select value, count(*) from tags where key = 'thriftune.trial' group by value"
        assert dict(database.execute(query).fetchall()) == {"parent": 2, "0": 2, "1": 2}
        assert database.execute("select count(*) from runs").fetchone() == (6,)
