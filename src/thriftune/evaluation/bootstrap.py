"""Percentile bootstrap intervals over posts (Efron and Tibshirani, 1993)."""

from __future__ import annotations

import numpy as np

from thriftune.evaluation.counts import Counts
from thriftune.evaluation.predictions import Decisions, Matrix, Predictions

Interval = tuple[float, float]


def intervals(predictions: Predictions, decisions: Decisions, samples: int, seed: int) -> dict[str, Interval]:
    """95 % intervals by dotted metric name, from `samples` resamples of the posts; {} for 0.

    Counts are additive over posts, so a resample is a weighting of per-post counts.
    """
    if samples == 0:
        return {}
    posts = len(predictions.post_ids)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(posts, np.full(posts, 1 / posts), size=samples).astype(float)
    found: dict[str, Interval] = {}
    if decisions.criteria is not None:
        per_post = _per_post(predictions.criteria_true, decisions.criteria)
        counts = _resampled(per_post, weights)
        found |= _micro_macro("criteria.f1", counts)
        for i, name in enumerate(predictions.criteria):
            found[f"criteria.per_criterion.{name}.f1"] = _interval(counts.f1[:, i])
    if decisions.sentences is not None:
        parts = _per_post(predictions.sentence_true, decisions.sentences)
        summed = tuple(_by_post(part, predictions.sentence_post, posts) for part in parts)
        found |= _micro_macro("evidence.sentence_f1", _resampled(summed, weights))
    return found


def _per_post(truth: Matrix, predicted: Matrix) -> tuple[Matrix, ...]:
    return truth & predicted, ~truth & predicted, truth & ~predicted


def _by_post(part: Matrix, owner: Matrix, posts: int) -> Matrix:
    total = np.zeros((posts, part.shape[1]))
    np.add.at(total, owner, part)
    return total


def _resampled(parts: tuple[Matrix, ...], weights: Matrix) -> Counts:
    hits, false_alarms, misses = (weights @ part.astype(float) for part in parts)
    return Counts(hits, false_alarms, misses)


def _micro_macro(name: str, counts: Counts) -> dict[str, Interval]:
    pooled = Counts(counts.hits.sum(1), counts.false_alarms.sum(1), counts.misses.sum(1))
    return {
        f"{name}_micro": _interval(pooled.f1),
        f"{name}_macro": _interval(counts.f1.mean(axis=1)),
    }


def _interval(values: Matrix) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
