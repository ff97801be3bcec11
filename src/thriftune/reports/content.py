"""Gathers what report.html shows of a study, and writes the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from thriftune import files
from thriftune.checkpoints.store import CheckpointStore
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.errors import DataError
from thriftune.evaluation.examples import Example, pick
from thriftune.evaluation.predictions import PredictionLine
from thriftune.evaluation.record import EvaluationRecord
from thriftune.evaluation.report import PAGE, PREDICTIONS
from thriftune.reports.page import Page, render_page
from thriftune.reports.series import axes, bytes_held, curves
from thriftune.reports.summary import summarise
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.handle import StudyHandle
from thriftune.study.record import StudyRecord


@dataclass(frozen=True)
class StudyPage:
    """The page of an evaluated study."""

    study: StudyHandle
    store: CheckpointStore
    optuna: OptunaStudy
    record: StudyRecord
    corpora: CorpusStore
    """Where the study's corpus is, if it is still there."""
    examples: int
    """Posts to quote for each criterion and kind; 0: no quotes."""

    @property
    def path(self) -> Path:
        """Its file, which need not be there."""
        return self.study.folder / PAGE

    def remove(self) -> None:
        """Delete its file, so that no page shows an older evaluation."""
        files.remove_file(self.path)

    def write(self, evaluation: EvaluationRecord) -> None:
        """Write its file.

        Args:
            evaluation: The study's test evaluation.
        """
        trials = self.optuna.trials()
        found = summarise(self.study, trials=trials)
        try:
            corpus = self.corpora.open(self.record.data.fingerprint)
        except DataError:
            corpus = None  # a finished study may outlive its corpus
        page = Page(
            evaluation=evaluation,
            study=found,
            curves=curves(self.study, found["trials"], f"validation/{evaluation.optimization_metric}"),
            axes=axes(trials, found["importances"] or {}),
            bytes_held=bytes_held(self.study, self.store, self.record, found),
            examples=_examples(self.study, corpus, self.examples),
            alignment={} if corpus is None else corpus.data_report().get("alignment", {}),
            created_at=self.record.created_at,
        )
        files.write_bytes(self.path, render_page(page).encode("utf-8"))


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
