"""Metrics of the evidence agent, and of both agents together.

Sentence metrics count (candidate sentence, criterion) pairs. Span metrics compare the predicted ranges (or
sentences), adjacent ones joined, with the annotated ones joined likewise. Token and character F1 are
micro-averaged overlaps over (post, criterion); tokens are runs of word characters. Joint F1 follows
HotpotQA (Yang et al., 2018): per (post, criterion) pair that is true or predicted, precision and recall
are those of the criterion (0 or 1) times those of its evidence sentences; micro-averaged over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from thriftune.evaluation.counts import count
from thriftune.evaluation.figures import EvidenceMetrics, JointMetrics
from thriftune.evaluation.predictions import Decisions, Matrix, Predictions

Unit = TypeVar("Unit")


def evidence_metrics(predictions: Predictions, decisions: Decisions) -> EvidenceMetrics:
    """Return the metrics of the evidence agent; `EvidenceMetrics` defines each.

    Args:
        predictions: The predictions of a split.
        decisions: Those predictions with thresholds applied; `sentences` is not None.
    """
    assert decisions.sentences is not None
    truth, predicted = predictions.sentence_true, decisions.sentences
    counts = count(truth, predicted)
    micro = counts.micro()
    spans = count_spans(predictions, decisions)
    return {
        "sentence_precision_micro": float(micro.precision[0]),
        "sentence_recall_micro": float(micro.recall[0]),
        "sentence_f1_micro": float(micro.f1[0]),
        "sentence_precision_macro": float(counts.precision.mean()),
        "sentence_recall_macro": float(counts.recall.mean()),
        "sentence_f1_macro": float(counts.f1.mean()),
        "span_exact_match": _f1(*spans["exact"]),
        "token_f1": _f1(*spans["token"]),
        "character_f1": _f1(*spans["character"]),
        "null_accuracy": _null_accuracy(predictions, predicted),
        "per_criterion": {
            name: {
                "sentence_precision": float(counts.precision[i]),
                "sentence_recall": float(counts.recall[i]),
                "sentence_f1": float(counts.f1[i]),
                "support": int(truth[:, i].sum()),
                "predicted": int(predicted[:, i].sum()),
            }
            for i, name in enumerate(predictions.criteria)
        },
    }


def joint_metrics(predictions: Predictions, decisions: Decisions) -> JointMetrics:
    """Return precision, recall and F1 of the right criterion with the right evidence.

    Args:
        predictions: The predictions of a split.
        decisions: Those predictions with thresholds applied; neither part is None.
    """
    hits, predicted, found, true = (float(part.sum()) for part in joint_parts(predictions, decisions))
    p, r = _share(hits, predicted), _share(found, true)
    return {
        "precision_micro": p,
        "recall_micro": r,
        "f1_micro": 2 * p * r / (p + r) if p + r > 0 else 0.0,
    }


def joint_parts(predictions: Predictions, decisions: Decisions) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Return the parts of joint precision and recall of each post.

    Args:
        predictions: The predictions of a split.
        decisions: Those predictions with thresholds applied; neither part is None.

    Returns:
        [posts] float64 each, over the criteria of a post: the sum of the precision of the evidence of those
        that are met and predicted; how many are predicted; the same sum of the recall; how many are met.
    """
    assert decisions.criteria is not None
    assert decisions.sentences is not None
    shape = decisions.criteria.shape
    hits, guessed, true = (np.zeros(shape) for _ in range(3))
    owner = predictions.sentence_post
    np.add.at(hits, owner, predictions.sentence_true & decisions.sentences)
    np.add.at(guessed, owner, decisions.sentences)
    np.add.at(true, owner, predictions.sentence_true)
    right = decisions.criteria & predictions.criteria_true
    precision = np.where(right & (guessed > 0), hits / np.maximum(guessed, 1), 0.0)
    recall = np.where(right & (true > 0), hits / np.maximum(true, 1), 0.0)
    # A right criterion without annotated evidence asks for none.
    nothing = right & (true == 0) & (guessed == 0)
    precision[nothing] = recall[nothing] = 1.0
    return (
        precision.sum(axis=1),
        decisions.criteria.sum(axis=1).astype(float),
        recall.sum(axis=1),
        predictions.criteria_true.sum(axis=1).astype(float),
    )


def count_spans(predictions: Predictions, decisions: Decisions) -> dict[str, tuple[int, int, int]]:
    """Count exact spans, the words inside them and their characters.

    Args:
        predictions: The predictions of a split.
        decisions: Those predictions with thresholds applied; `sentences` is not None.

    Returns:
        By "exact", "token" and "character": how many are in both, predicted, true.
    """
    totals = {"exact": [0, 0, 0], "token": [0, 0, 0], "character": [0, 0, 0]}
    for post in range(len(predictions.post_ids)):
        found = _found(predictions, decisions, post)
        for criterion in range(len(predictions.criteria)):
            guess = _joined([(s, e) for c, s, e in found if c == criterion])
            true = _joined([(s, e) for c, s, e in predictions.evidence_true[post] if c == criterion])
            if not guess and not true:
                continue
            _tally(totals["exact"], set(guess), set(true))
            _tally(totals["character"], _units(guess), _units(true))
            words = predictions.words[post]
            _tally(totals["token"], _inside(words, guess), _inside(words, true))
    return {name: (both, guessed, true) for name, (both, guessed, true) in totals.items()}


def _found(predictions: Predictions, decisions: Decisions, post: int) -> list[tuple[int, int, int]]:
    """Return the (criterion, start, end) that are predicted in a post: spans of tokens, or sentences."""
    if decisions.evidence_spans is not None:
        return [(criterion, start, end) for criterion, start, end, _ in decisions.evidence_spans[post]]
    assert decisions.sentences is not None
    return [
        (int(criterion), int(start), int(end))
        for sentence in np.flatnonzero(predictions.sentence_post == post)
        for start, end in [predictions.sentence_spans[sentence]]
        for criterion in np.flatnonzero(decisions.sentences[sentence])
    ]


def _tally(total: list[int], guess: set[Unit], true: set[Unit]) -> None:
    total[0] += len(guess & true)
    total[1] += len(guess)
    total[2] += len(true)


def _units(spans: Sequence[tuple[int, int]]) -> set[int]:
    return {index for start, end in spans for index in range(start, end)}


def _inside(words: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    return {(s, e) for s, e in words if any(start <= s and e <= end for start, end in spans)}


def _joined(spans: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Return sorted spans; those that touch, or are one character apart, are joined."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((int(s), int(e)) for s, e in spans):
        if joined and start <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _null_accuracy(predictions: Predictions, predicted: Matrix) -> float | None:
    """Return the share of the (post, criterion) pairs without true evidence for which none is predicted."""
    shape = predictions.criteria_true.shape
    true, guess = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    np.logical_or.at(true, predictions.sentence_post, predictions.sentence_true)
    np.logical_or.at(guess, predictions.sentence_post, predicted)
    return float((~guess[~true]).mean()) if (~true).any() else None


def _f1(both: int, guessed: int, true: int) -> float:
    return _share(2 * both, guessed + true)


def _share(upper: float, lower: float) -> float:
    return float(upper) / float(lower) if lower > 0 else 0.0
