"""Per-criterion thresholds, tuned on validation only."""

from __future__ import annotations

import numpy as np

from thriftune.evaluation.predictions import Matrix, Predictions

DEFAULT = 0.5
LEAST_POSITIVES = 5
"""Criteria with fewer validation positives take the threshold tuned over all criteria together."""


def best_threshold(probabilities: Matrix, truth: Matrix) -> float:
    """The threshold with the highest F1 (Lipton et al., 2014), midway to the next lower
    probability; of equals the highest. DEFAULT where nothing is true. 1-d arrays."""
    positives = int(truth.sum())
    if positives == 0:
        return DEFAULT
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + positives)
    last_of_tie = np.append(ranked[1:] < ranked[:-1], True)
    cut = int(np.argmax(np.where(last_of_tie, f1, -1.0)))
    below = ranked[cut + 1] if cut + 1 < len(ranked) else 0.0
    middle = np.float32((ranked[cut] + below) / 2)
    return float(middle if middle > below else ranked[cut])  # of neighbours it may round down


def tune(probabilities: Matrix, truth: Matrix) -> Matrix:
    """Thresholds [criteria] float32 for [items, criteria] probabilities and truths."""
    together = best_threshold(probabilities.ravel(), truth.ravel())
    return np.array(
        [
            best_threshold(probabilities[:, i], truth[:, i])
            if truth[:, i].sum() >= LEAST_POSITIVES
            else together
            for i in range(truth.shape[1])
        ],
        dtype=np.float32,
    )


def tune_all(predictions: Predictions) -> tuple[Matrix, Matrix]:
    """(criteria thresholds, evidence thresholds); DEFAULT for an agent that is left out.

    Evidence thresholds are tuned on the sentences that the criteria agent lets through.
    """
    default = np.full(len(predictions.criteria), DEFAULT, dtype=np.float32)
    criteria = evidence = default
    if predictions.criteria_prob is not None:
        criteria = tune(predictions.criteria_prob, predictions.criteria_true)
    if predictions.sentence_prob is not None:
        probabilities = predictions.sentence_prob
        if predictions.criteria_prob is not None:
            met = predictions.criteria_prob >= criteria
            probabilities = np.where(met[predictions.sentence_post], probabilities, 0.0)
        evidence = np.maximum(tune(probabilities, predictions.sentence_true), np.float32(1e-6))
    return criteria, evidence
