"""Thresholds of each criterion, tuned on validation only."""

from __future__ import annotations

import numpy as np

from thriftune.evaluation.predictions import Matrix, Predictions

DEFAULT = 0.5
LEAST_POSITIVES = 20
"""A criterion with fewer positives in validation gets the threshold of its share instead of the best F1's."""


def best_threshold(probabilities: Matrix, truth: Matrix) -> float:
    """Return the threshold with the highest F1 (SCut: Yang, SIGIR 2001), the highest of equal ones.

    It lies midway between the lowest probability that is met and the next lower one.

    Args:
        probabilities: [items] float32, between 0 and 1.
        truth: [items] bool; without a positive item the threshold is DEFAULT.
    """
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
    """Return the threshold that as many items meet as are positive (PCut: Yang, SIGIR 2001).

    More items meet it only if their probabilities are equal.

    Args:
        probabilities: [items] float32, between 0 and 1.
        positives: Number of positive items; 0: no item meets the threshold unless its probability is 1.
    """
    ranked = np.append(1.0, np.sort(probabilities.astype(np.float64))[::-1])
    return _below(ranked, positives)


def _below(ranked: Matrix, last: int) -> float:
    """Return the number midway between a probability and the next lower one; sorted from high to low."""
    lower = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    middle = np.float32((ranked[last] + lower) / 2)
    return float(
        middle if middle > lower else ranked[last]
    )  # between neighbouring floats, the middle may be rounded down


def tune(probabilities: Matrix, truth: Matrix) -> Matrix:
    """Return the threshold of each criterion, [criteria] float32.

    The threshold with the best F1 overfits a criterion with few positives; the threshold of their share does
    not (Yang, A study on thresholding strategies for text categorization, SIGIR 2001).

    Args:
        probabilities: [items, criteria] float32, between 0 and 1.
        truth: [items, criteria] bool.
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
    """Return the thresholds of the criteria and of the evidence, [criteria] float32 each.

    Evidence thresholds are tuned on the sentences of posts for which the criteria agent predicts the
    criterion.

    Args:
        predictions: The predictions of the validation split. An agent that is left out gets DEFAULT.
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
