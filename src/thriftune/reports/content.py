"""Gathers what report.html shows of a study, and writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from thriftune import files
from thriftune.checkpoints.store import CheckpointStore
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.errors import DataError
from thriftune.evaluation.examples import Example, pick
from thriftune.evaluation.predictions import PredictionLine
from thriftune.evaluation.record import EvaluationRecord
from thriftune.evaluation.report import PAGE, PREDICTIONS
from thriftune.reports.charts import Axis, Point
from thriftune.reports.page import render_page
from thriftune.reports.summary import summarise
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.handle import StudyHandle
from thriftune.study.layout import journals_of
from thriftune.study.record import StudyRecord
from thriftune.tracking.records import read_rows
from thriftune.training.optimisation import moments

CURVES_SHOWN, AXES_SHOWN = 5, 12


def write_page(
    study: StudyHandle,
    store: CheckpointStore,
    optuna_study: OptunaStudy,
    record: StudyRecord,
    corpora: CorpusStore,
    evaluation: EvaluationRecord,
    examples: int,
) -> None:
    """Write the page of an evaluated study; `examples` posts are quoted of each criterion and kind."""
    trials = optuna_study.trials()
    found = summarise(study, trials=trials)
    rows = found["trials"]
    weights = _checkpoint_bytes(store, record)
    held = list(zip(found["overhead"]["trials"], found["overhead"]["held_bytes"], strict=True))
    # What is held counts what is beside checkpoints too; as it was when the last trial ended, so that a page
    # that is written again is the same.
    kept = sum(entry.manifest.total_bytes for entry in store.entries())
    beside = max(0, held[-1][1] - kept) if held else 0
    keep_all = [beside + saved for saved in accumulate(int(row["epochs"]) * weights for row in rows)]
    figures = evaluation.test_metrics.criteria
    ends = [float(rows[0]["trial"]), float(rows[-1]["trial"])]
    try:
        corpus = corpora.open(record.data.fingerprint)
    except DataError:
        corpus = None  # a finished study may outlive its corpus
    page = render_page(
        evaluation=evaluation,
        study=found,
        curves=_curves(study, rows, f"validation/{evaluation.optimization_metric}"),
        axes=_axes(trials, found["importances"] or {}),
        bytes_held={
            "held": held,
            "budget": [(end, float(found["budget_bytes"])) for end in ends],
            "keep-all": list(zip((float(row["trial"]) for row in rows), keep_all, strict=True)),
        },
        criteria=() if figures is None else list(figures.per_criterion),
        examples=_examples(study, corpus, examples),
        alignment={} if corpus is None else corpus.data_report().get("alignment", {}),
        created_at=record.created_at,
    )
    files.write_bytes(study.folder / PAGE, page.encode("utf-8"))


def _curves(study: StudyHandle, rows: Sequence[Mapping[str, Any]], key: str) -> dict[int, list[Point]]:
    best = sorted((row for row in rows if row["value"] is not None), key=lambda row: -row["value"])
    journals = journals_of(study.folder)
    return {
        row["trial"]: [
            (r.step, r.value)
            for r in read_rows(journals[row["trial"]])
            if r.key == key and r.value is not None
        ]
        for row in best[:CURVES_SHOWN]
        if row["trial"] in journals
    }


def _axes(trials: Sequence[FrozenTrial], importances: Mapping[str, float]) -> list[Axis]:
    """The searched parameters that varied, the most important first."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    kinds = {name: kind for trial in complete for name, kind in trial.distributions.items()}
    names = sorted(kinds, key=lambda name: -importances.get(name, 0.0))
    axes = [
        Axis(
            name,
            [trial.params.get(name) for trial in complete],
            _is_logarithmic(kinds[name]),
        )
        for name in names
    ]
    return [axis for axis in axes if len(set(map(str, axis.values))) > 1][:AXES_SHOWN]


def _is_logarithmic(kind: BaseDistribution) -> bool:
    return isinstance(kind, FloatDistribution | IntDistribution) and kind.log


def _examples(study: StudyHandle, corpus: Corpus | None, each: int) -> Sequence[Example] | str:
    """The posts to quote, or why none is."""
    if each == 0:
        return "evaluation.examples=0: no posts are quoted."
    if corpus is None:
        return "The corpus is no longer there, so no posts are quoted."
    try:
        corpus.check("test")
        posts = ((post.post_id, post.text) for post in corpus.posts("test"))
        return pick(posts, _predictions(study), corpus.criteria, each)
    except (DataError, FileNotFoundError, ValueError):
        return f"The test split or {PREDICTIONS} is not what the evaluation left, so no posts are quoted."


def _predictions(study: StudyHandle) -> Iterator[PredictionLine]:
    with (study.folder / PREDICTIONS).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _checkpoint_bytes(store: CheckpointStore, record: StudyRecord) -> int:
    """Of a checkpoint with its optimizer state."""
    best = store.best()
    model = best.info.model_bytes if best is not None else 0
    return model * (1 + moments(record.parameters()))
