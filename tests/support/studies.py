"""Small studies that a test runs in its own process, and what must be equal of two of them."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import Parameters
from thriftune.corpus.ingestion import ingest
from thriftune.corpus.store import CorpusStore
from thriftune.runner.final_evaluation import evaluate_study
from thriftune.runner.run import run_search
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.handle import StudyHandle
from thriftune.study.storage import open_store
from thriftune.tracking.records import read_metrics


def parts(parameters: Parameters) -> tuple[CorpusStore, StudyHandle, CheckpointStore]:
    study = StudyHandle.from_parameters(parameters, parameters.study.name)
    return (
        CorpusStore(Path(parameters.corpus.root)),
        study,
        open_store(
            study.folder,
            study.id,
            parameters.storage,
            [Path(parameters.corpus.root), Path(parameters.corpus.cache), Path(parameters.tracking.root)],
        ),
    )


def run(parameters: Parameters) -> None:
    """The search, driven as the catalog drives it."""
    corpora, study, store = parts(parameters)
    corpus = ingest(parameters.corpus, corpora, lambda line: None)
    for checkpoint in run_search(parameters, corpus, study, store):
        try:
            store.save(checkpoint)
        except Exception as error:
            checkpoint.receipt.fail(error)


def evaluate(parameters: Parameters, *, explicit: bool = False) -> dict[str, Any]:
    corpora, study, store = parts(parameters)
    return evaluate_study(parameters, study, store, corpora, explicit=explicit).to_json()


def facts(parameters: Parameters) -> dict[str, Any]:
    """What must be equal after any interruption."""
    _, study, store = parts(parameters)
    best = store.best()
    assert best is not None
    trials = [
        (t.number, t.state.name, t.params, t.value, t.intermediate_values)
        for t in OptunaStudy.open(study, parameters).trials()
    ]
    rows = {
        path.parent.name: [(r.key, r.step, r.value) for r in read_metrics(path) if "system/" not in r.key]
        for path in sorted(study.folder.glob("trials/*/metrics.jsonl"))
    }
    return {"best": best.manifest.sha256, "trials": trials, "rows": rows}


def in_child(parameters: Parameters, observer: files.Observer | None) -> int:
    """Run the search in a forked process; its exit code, or minus the signal."""
    if (pid := os.fork()) == 0:
        sys.settrace(None)  # what coverage measures here is lost at `os._exit`
        threading.settrace(None)  # type: ignore[arg-type]
        files.observer = observer
        try:
            run(parameters)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
