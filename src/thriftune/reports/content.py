"""Gathers what report.html shows of a study, and writes the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

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
from thriftune.reports.page import Page, render_page
from thriftune.reports.summary import StudySummary, TrialSummary, best_first, summarise
from thriftune.reports.trial_costs import read_trial_costs
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.handle import StudyHandle
from thriftune.study.layout import journals_of
from thriftune.study.record import StudyRecord
from thriftune.tracking.records import read_metrics
from thriftune.training.optimisation import optimizer_slots

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
    """Write the page of an evaluated study.

    Args:
        study: The study.
        store: Its checkpoints.
        optuna_study: Its trials.
        record: Its record.
        corpora: Where its corpus is, if it is still there.
        evaluation: Its test evaluation.
        examples: Posts to quote for each criterion and kind; 0: no quotes.
    """
    trials = optuna_study.trials()
    found = summarise(study, trials=trials)
    try:
        corpus = corpora.open(record.data.fingerprint)
    except DataError:
        corpus = None  # a finished study may outlive its corpus
    page = Page(
        evaluation=evaluation,
        study=found,
        curves=_curves(study, found["trials"], f"validation/{evaluation.optimization_metric}"),
        axes=_axes(trials, found["importances"] or {}),
        bytes_held=_bytes_held(study, store, record, found),
        examples=_examples(study, corpus, examples),
        alignment={} if corpus is None else corpus.data_report().get("alignment", {}),
        created_at=record.created_at,
    )
    files.write_bytes(study.folder / PAGE, render_page(page).encode("utf-8"))


def _bytes_held(
    study: StudyHandle, store: CheckpointStore, record: StudyRecord, found: StudySummary
) -> dict[str, list[Point]]:
    """Return the bytes at the end of each trial, the budget, and what keeping everything would have taken."""
    rows = found["trials"]
    costs = read_trial_costs(journals_of(study.folder), record.budget_bytes)
    held = [(float(number), size) for number, size in zip(costs.trials, costs.held_bytes, strict=True)]
    # Files beside checkpoints count too. Their size is that at the last trial's end, so that a page that is
    # written again is the same.
    kept = sum(entry.manifest.total_bytes for entry in store.entries())
    beside = max(0, held[-1][1] - kept) if held else 0
    weights = _checkpoint_bytes(store, record)
    saved = accumulate(row["epochs"] * weights for row in rows)
    return {
        "held": held,
        "budget": [(float(row["trial"]), float(record.budget_bytes)) for row in (rows[0], rows[-1])],
        "keep-all": [(float(row["trial"]), beside + size) for row, size in zip(rows, saved, strict=True)],
    }


def _curves(study: StudyHandle, rows: Sequence[TrialSummary], key: str) -> dict[int, list[Point]]:
    """Return (epoch, value) of the best trials."""
    best = sorted((row for row in rows if row["value"] is not None), key=best_first)
    journals = journals_of(study.folder)
    return {
        row["trial"]: [
            (r.step, r.value)
            for r in read_metrics(journals[row["trial"]])
            if r.key == key and r.value is not None
        ]
        for row in best[:CURVES_SHOWN]
        if row["trial"] in journals
    }


def _axes(trials: Sequence[FrozenTrial], importances: Mapping[str, float]) -> list[Axis]:
    """Return the searched parameters that varied, the most important first."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    kinds = {name: kind for trial in complete for name, kind in trial.distributions.items()}
    names = sorted(kinds, key=lambda name: -importances.get(name, 0.0))
    axes = [
        Axis(name, [trial.params.get(name) for trial in complete], _is_logarithmic(kinds[name]))
        for name in names
    ]
    return [axis for axis in axes if len(set(map(str, axis.values))) > 1][:AXES_SHOWN]


def _is_logarithmic(kind: BaseDistribution) -> bool:
    return isinstance(kind, FloatDistribution | IntDistribution) and kind.log


def _examples(study: StudyHandle, corpus: Corpus | None, each: int) -> Sequence[Example] | str:
    """Return the posts to quote, or why there are none."""
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
    """Return the bytes of a checkpoint with its optimizer state."""
    best = store.best()
    model = best.info.model_bytes if best is not None else 0
    return model * (1 + optimizer_slots(record.parameters()))
