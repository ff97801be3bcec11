"""A split's predictions and truths, and the decisions at thresholds.

NumPy alone: the names of all metrics are asked for before anything heavy is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

Matrix = np.ndarray[Any, Any]
EvidenceSpan = tuple[int, int, int, float]
"""Index of the criterion, first character, the one after the last, score between 0 and 1."""


class CriterionPrediction(TypedDict):
    """A criterion in a line of predictions.jsonl."""

    probability: float | None
    """None without a criteria agent; likewise `predicted`."""
    predicted: bool | None
    true: bool


class AnnotatedSpan(TypedDict):
    """Annotated evidence in a line of predictions.jsonl."""

    criterion: str
    start: int
    """First character in the post; `end` is the one after the last."""
    end: int


class PredictedSpan(AnnotatedSpan):
    """Predicted evidence in a line of predictions.jsonl."""

    score: float
    """Between 0 and 1."""


class PredictionLine(TypedDict):
    """A line of predictions.jsonl: what is predicted and true of one post."""

    post_id: str
    criteria: dict[str, CriterionPrediction]
    evidence: list[PredictedSpan]
    evidence_true: list[AnnotatedSpan]
    sentences: list[list[int]]
    """[start, end] of each candidate sentence."""


@dataclass(frozen=True)
class Predictions:
    """Probabilities and truths of a split; the sentences of all posts are numbered in one sequence."""

    criteria: tuple[str, ...]
    post_ids: tuple[str, ...]
    criteria_true: Matrix
    """[posts, criteria] bool"""
    criteria_prob: Matrix | None
    """[posts, criteria] float32; None without a criteria agent"""
    sentence_post: Matrix
    """[sentences] int: the post of each candidate sentence"""
    sentence_spans: Matrix
    """[sentences, 2] int: start and end characters in its post"""
    sentence_true: Matrix
    """[sentences, criteria] bool"""
    sentence_prob: Matrix | None
    """[sentences, criteria] float32; None without an evidence agent"""
    evidence_true: tuple[tuple[tuple[int, int, int], ...], ...]
    """For each post the annotated (criterion index, start, end)."""
    words: tuple[tuple[tuple[int, int], ...], ...]
    """For each post the (start, end) of its words, by which token F1 counts."""
    evidence_spans: tuple[tuple[EvidenceSpan, ...], ...] | None = None
    """For each post the spans that may be evidence; None if whole sentences are."""


@dataclass(frozen=True)
class Decisions:
    """Predictions with the thresholds applied."""

    criteria: Matrix | None
    """[posts, criteria] bool"""
    sentences: Matrix | None
    """[sentences, criteria] bool"""
    evidence_spans: tuple[tuple[EvidenceSpan, ...], ...] | None = None
    """For each post the spans that are evidence; None if whole sentences are."""


def decide(predictions: Predictions, criteria_thresholds: Matrix, evidence_thresholds: Matrix) -> Decisions:
    """Return the predictions with thresholds applied; a probability equal to its threshold is enough.

    Evidence for a criterion is predicted only if the criteria agent, if there is one, predicts the criterion.

    Args:
        predictions: The predictions of a split.
        criteria_thresholds: [criteria] float32.
        evidence_thresholds: [criteria] float32.
    """
    criteria = sentences = spans = None
    if predictions.criteria_prob is not None:
        criteria = predictions.criteria_prob >= criteria_thresholds
    if predictions.sentence_prob is not None:
        sentences = predictions.sentence_prob >= evidence_thresholds
        if criteria is not None:
            sentences = sentences & criteria[predictions.sentence_post]
    if predictions.evidence_spans is not None:
        spans = tuple(
            tuple(
                span
                for span in found
                if span[3] >= evidence_thresholds[span[0]] and (criteria is None or criteria[post, span[0]])
            )
            for post, found in enumerate(predictions.evidence_spans)
        )
    return Decisions(criteria, sentences, spans)
