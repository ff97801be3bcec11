"""Figures of the criteria agent; scikit-learn is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thriftune.evaluation.counts import count
from thriftune.evaluation.predictions import Matrix

CALIBRATION_BINS = 10


def criteria_metrics(
    criteria: Sequence[str], truth: Matrix, probabilities: Matrix, predicted: Matrix
) -> dict[str, Any]:
    """Nested figures; truth and predicted [posts, criteria] bool, probabilities float32.

    Average precision and ROC AUC are None where a criterion has one class only; their macro means
    are over the criteria that have them.
    """
    counts = count(truth, predicted)
    micro = counts.micro()
    per_criterion: dict[str, dict[str, Any]] = {
        name: {
            "precision": float(counts.precision[i]),
            "recall": float(counts.recall[i]),
            "f1": float(counts.f1[i]),
            "support": int(truth[:, i].sum()),
            "predicted": int(predicted[:, i].sum()),
            "accuracy": float((truth[:, i] == predicted[:, i]).mean()),
            "average_precision": _ranked("average_precision_score", truth[:, i], probabilities[:, i]),
            "roc_auc": _ranked("roc_auc_score", truth[:, i], probabilities[:, i]),
            "calibration_error": calibration_error(truth[:, i], probabilities[:, i]),
            "confusion": [
                [int((~truth[:, i] & ~predicted[:, i]).sum()), int(counts.false_alarms[i])],
                [int(counts.misses[i]), int(counts.hits[i])],
            ],
        }
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
        "roc_auc_macro": _mean([figures["roc_auc"] for figures in per_criterion.values()]),
        "calibration_error": calibration_error(truth.ravel(), probabilities.ravel()),
        "per_criterion": per_criterion,
    }


def calibration_error(truth: Matrix, probabilities: Matrix) -> float:
    """Expected calibration error over CALIBRATION_BINS bins of equal width (Guo et al., 2017)."""
    bins = np.minimum((probabilities * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    total = 0.0
    for number in range(CALIBRATION_BINS):
        inside = bins == number
        if inside.any():
            gap = abs(float(truth[inside].mean()) - float(probabilities[inside].mean()))
            total += gap * float(inside.mean())
    return total


def _ranked(score: str, truth: Matrix, probabilities: Matrix) -> float | None:
    if truth.all() or not truth.any():
        return None
    # Late: the figures' names are asked for before `kedro run` starts, and this takes a second to import.
    import sklearn.metrics

    return float(getattr(sklearn.metrics, score)(truth, probabilities))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
