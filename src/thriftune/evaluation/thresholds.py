"""Per-criterion thresholds, tuned on validation only."""

from __future__ import annotations

import numpy as np

from thriftune.evaluation.predictions import Matrix, Predictions

DEFAULT = 0.5
LEAST_POSITIVES = 20
"""Criteria with fewer validation positives find as many as there are: which they are is chance."""


def best_threshold(probabilities: Matrix, truth: Matrix) -> float:
    """The threshold with the highest F1 (SCut: Yang, 2001), midway to the next lower probability; of equals
    the highest. DEFAULT where nothing is true. 1-d arrays."""
    positives = int(truth.sum())
    if positives == 0:
        return DEFAULT
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + positives)
    last_of_tie = np.append(ranked[1:] < ranked[:-1], True)
    return _below(ranked, int(np.argmax(np.where(last_of_tie, f1, -1.0))))


def share_threshold(probabilities: Matrix, positives: int) -> float:
    """The threshold that as many probabilities reach as there are positives, more only where they are equal
    (PCut: Yang, 2001), midway to the next lower one. 1-d array."""
    ranked = np.append(1.0, np.sort(probabilities.astype(np.float64))[::-1])
    return _below(ranked, positives)


def _below(ranked: Matrix, last: int) -> float:
    """Midway between a probability and the next lower one, of a row from high to low."""
    lower = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    middle = np.float32((ranked[last] + lower) / 2)
    return float(middle if middle > lower else ranked[last])  # of neighbours it may round down


def tune(probabilities: Matrix, truth: Matrix) -> Matrix:
    """Thresholds [criteria] float32 for [items, criteria] probabilities and truths.

    The threshold with the best F1 overfits a criterion with few positives, where that of their share does not
    (Yang, A study on thresholding strategies for text categorization, SIGIR 2001).
    """
    positives = truth.sum(axis=0)
    return np.array(
        [
            best_threshold(probabilities[:, i], truth[:, i])
            if positives[i] >= LEAST_POSITIVES
            else share_threshold(probabilities[:, i], int(positives[i]))
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
