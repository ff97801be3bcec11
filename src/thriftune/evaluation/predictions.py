"""A split's predictions and truths, and the decisions at thresholds. NumPy alone: the names of all figures
are asked for before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Matrix = np.ndarray[Any, Any]
Place = tuple[int, int, int, float]
"""Criterion, first character and the one after the last, score between 0 and 1."""


@dataclass(frozen=True)
class Predictions:
    """A split's probabilities and truths; sentences of all posts are numbered through."""

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
    places: tuple[tuple[Place, ...], ...] | None = None
    """For each post the ranges that may be evidence; None where the sentences themselves are."""


@dataclass(frozen=True)
class Decisions:
    """Predictions with the thresholds applied."""

    criteria: Matrix | None
    """[posts, criteria] bool"""
    sentences: Matrix | None
    """[sentences, criteria] bool"""
    places: tuple[tuple[Place, ...], ...] | None = None
    """For each post the ranges that are evidence; None where the sentences themselves are."""


def decide(predictions: Predictions, criteria_thresholds: Matrix, evidence_thresholds: Matrix) -> Decisions:
    """Apply thresholds ([criteria] float32, met from the threshold on). Evidence for a criterion is
    predicted only where the criteria agent, if there is one, predicts the criterion."""
    criteria = sentences = places = None
    if predictions.criteria_prob is not None:
        criteria = predictions.criteria_prob >= criteria_thresholds
    if predictions.sentence_prob is not None:
        sentences = predictions.sentence_prob >= evidence_thresholds
        if criteria is not None:
            sentences = sentences & criteria[predictions.sentence_post]
    if predictions.places is not None:
        places = tuple(
            tuple(
                place
                for place in found
                if place[3] >= evidence_thresholds[place[0]]
                and (criteria is None or criteria[post, place[0]])
            )
            for post, found in enumerate(predictions.places)
        )
    return Decisions(criteria, sentences, places)
