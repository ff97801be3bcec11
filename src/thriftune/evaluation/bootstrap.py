"""Percentile bootstrap over posts (Efron and Tibshirani, An Introduction to the Bootstrap, 1993)."""

from __future__ import annotations

import numpy as np

from thriftune.evaluation.counts import Counts
from thriftune.evaluation.evidence_metrics import joint_parts
from thriftune.evaluation.predictions import Decisions, Matrix, Predictions

Interval = tuple[float, float]


def intervals(predictions: Predictions, decisions: Decisions, samples: int, seed: int) -> dict[str, Interval]:
    """Return 95 % intervals by dotted metric name.

    Args:
        predictions: The predictions of a split with at least one post.
        decisions: Those predictions with thresholds applied.
        samples: Number of resamples of the posts; 0: no intervals.
        seed: Seed of the resamples; the same seed gives the same intervals.
    """
    if samples == 0:
        return {}
    weights = resamples(len(predictions.post_ids), samples, seed)
    return {
        name: interval(values) for name, values in weighted_figures(predictions, decisions, weights).items()
    }


def resamples(posts: int, samples: int, seed: int) -> Matrix:
    """Return how often each resample has each post, [samples, posts] float64.

    Args:
        posts: Number of posts, drawn with replacement.
        samples: Number of resamples.
        seed: Seed of the generator.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(posts, np.full(posts, 1 / posts), size=samples).astype(float)


def weighted_figures(predictions: Predictions, decisions: Decisions, weights: Matrix) -> dict[str, Matrix]:
    """Return F1 of criteria (micro, macro, each), sentences (micro, macro) and both, by dotted name.

    Counts of posts are additive, so that one matrix product gives the F1 of every resample.

    Args:
        predictions: The predictions of a split.
        decisions: Those predictions with thresholds applied; an agent without decisions has no figures.
        weights: How often each post counts, [samples, posts] float64.

    Returns:
        [samples] float64 each; 0 where nothing is true and nothing predicted.
    """
    found: dict[str, Matrix] = {}
    if decisions.criteria is not None:
        counts = _weighted(_parts(predictions.criteria_true, decisions.criteria), weights)
        found |= _micro_macro("criteria.f1", counts)
        for i, name in enumerate(predictions.criteria):
            found[f"criteria.per_criterion.{name}.f1"] = counts.f1[:, i]
    if decisions.sentences is not None:
        parts = _parts(predictions.sentence_true, decisions.sentences)
        posts = len(predictions.post_ids)
        summed = tuple(_by_post(part, predictions.sentence_post, posts) for part in parts)
        found |= _micro_macro("evidence.sentence_f1", _weighted(summed, weights))
    if decisions.criteria is not None and decisions.sentences is not None:
        hits, predicted, recalled, true = (weights @ part for part in joint_parts(predictions, decisions))
        precision, recall = hits / np.maximum(predicted, 1), recalled / np.maximum(true, 1)
        both = precision + recall
        found["joint.f1_micro"] = 2 * precision * recall / np.where(both > 0, both, 1)
    return found


def interval(values: Matrix) -> Interval:
    """Return the ends of the middle 95 % of values.

    Args:
        values: Resampled values, [samples].
    """
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _parts(truth: Matrix, predicted: Matrix) -> tuple[Matrix, ...]:
    return truth & predicted, ~truth & predicted, truth & ~predicted


def _by_post(part: Matrix, owner: Matrix, posts: int) -> Matrix:
    total = np.zeros((posts, part.shape[1]))
    np.add.at(total, owner, part)
    return total


def _weighted(parts: tuple[Matrix, ...], weights: Matrix) -> Counts:
    hits, false_alarms, misses = (weights @ part.astype(float) for part in parts)
    return Counts(hits, false_alarms, misses)


def _micro_macro(name: str, counts: Counts) -> dict[str, Matrix]:
    pooled = Counts(counts.hits.sum(1), counts.false_alarms.sum(1), counts.misses.sum(1))
    return {f"{name}_micro": pooled.f1, f"{name}_macro": counts.f1.mean(axis=1)}
