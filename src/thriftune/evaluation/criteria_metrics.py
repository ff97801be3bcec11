"""Metrics of the criteria agent; scikit-learn is the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thriftune.evaluation.counts import count
from thriftune.evaluation.figures import CriteriaMetrics, CriterionMetrics
from thriftune.evaluation.predictions import Matrix

CALIBRATION_BINS = 10


def criteria_metrics(
    criteria: Sequence[str], truth: Matrix, probabilities: Matrix, predicted: Matrix
) -> CriteriaMetrics:
    """Return the metrics of the criteria; `CriteriaMetrics` defines each.

    Args:
        criteria: Names, in the order of the columns.
        truth: [posts, criteria] bool; at least one post.
        probabilities: [posts, criteria] float32.
        predicted: [posts, criteria] bool.
    """
    counts = count(truth, predicted)
    micro = counts.micro()
    per_criterion = {
        name: _criterion_metrics(truth[:, i], probabilities[:, i], predicted[:, i])
        for i, name in enumerate(criteria)
    }
    return {
        "exact_match": float((truth == predicted).all(axis=1).mean()),
        "accuracy": float((truth == predicted).mean()),
        "precision_micro": float(micro.precision[0]),
        "recall_micro": float(micro.recall[0]),
        "f1_micro": float(micro.f1[0]),
        "precision_macro": float(counts.precision.mean()),
        "recall_macro": float(counts.recall.mean()),
        "f1_macro": float(counts.f1.mean()),
        "average_precision_macro": _mean([f["average_precision"] for f in per_criterion.values()]),
        "roc_auc_macro": _mean([f["roc_auc"] for f in per_criterion.values()]),
        "calibration_error": calibration_error(truth.ravel(), probabilities.ravel()),
        "per_criterion": per_criterion,
    }


def _criterion_metrics(truth: Matrix, probabilities: Matrix, predicted: Matrix) -> CriterionMetrics:
    """Return the metrics of one criterion; [posts] each."""
    counts = count(truth[:, None], predicted[:, None])
    return {
        "precision": float(counts.precision[0]),
        "recall": float(counts.recall[0]),
        "f1": float(counts.f1[0]),
        "support": int(truth.sum()),
        "predicted": int(predicted.sum()),
        "accuracy": float((truth == predicted).mean()),
        "average_precision": _ranked("average_precision_score", truth, probabilities),
        "roc_auc": _ranked("roc_auc_score", truth, probabilities),
        "calibration_error": calibration_error(truth, probabilities),
        "confusion": [
            [int((~truth & ~predicted).sum()), int(counts.false_alarms[0])],
            [int(counts.misses[0]), int(counts.hits[0])],
        ],
    }


def calibration_error(truth: Matrix, probabilities: Matrix) -> float:
    """Return the expected calibration error (Guo et al., On Calibration of Modern Neural Networks, 2017).

    It is the mean gap between probability and share of positives over CALIBRATION_BINS bins of equal width,
    weighted by the items in each: 0 if every bin has the share that it states, at most 1. Without a positive
    item it is the mean probability.

    Args:
        truth: [items] bool; at least one item.
        probabilities: [items] float32, between 0 and 1.
    """
    bins = np.minimum((probabilities * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    total = 0.0
    for number in range(CALIBRATION_BINS):
        inside = bins == number
        if inside.any():
            gap = abs(float(truth[inside].mean()) - float(probabilities[inside].mean()))
            total += gap * float(inside.mean())
    return total


def _ranked(score: str, truth: Matrix, probabilities: Matrix) -> float | None:
    """Return a score of scikit-learn, or None if there is one class only."""
    if truth.all() or not truth.any():
        return None
    # Late: the figures' names are asked for before `kedro run` starts, and this takes a second to import.
    import sklearn.metrics

    return float(getattr(sklearn.metrics, score)(truth, probabilities))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
