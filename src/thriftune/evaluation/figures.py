"""The metrics of a split, as `compute` returns them and the JSON files have them.

All shares lie between 0 and 1. Precision, recall and F1 with an empty denominator are 0, as scikit-learn's
with zero_division=0: a criterion without positive posts that is never predicted has an F1 of 0.
"""

from __future__ import annotations

from typing import TypedDict


class CriterionMetrics(TypedDict):
    """One criterion over the posts of a split."""

    precision: float
    """Share of the posts predicted to meet the criterion that do; 0 if none is predicted."""
    recall: float
    """Share of the posts that meet the criterion that are predicted; 0 if none does."""
    f1: float
    """Harmonic mean of precision and recall; 0 if no post meets the criterion and none is predicted."""
    support: int
    """Number of posts that meet the criterion."""
    predicted: int
    """Number of posts that are predicted to meet it."""
    accuracy: float
    """Share of the posts that are predicted right."""
    average_precision: float | None
    """Mean precision over the ranking, weighted by the gain in recall; None if all or no posts meet it."""
    roc_auc: float | None
    """Probability that a positive post ranks above a negative one; None if all or no posts meet it."""
    calibration_error: float
    """See `calibration_error`."""
    confusion: list[list[int]]
    """[[true negatives, false positives], [false negatives, true positives]]."""


class CriteriaMetrics(TypedDict):
    """All criteria. Micro: all (post, criterion) pairs as one; macro: the mean over the criteria."""

    exact_match: float
    """Share of the posts whose criteria are all predicted right."""
    accuracy: float
    """Share of the (post, criterion) pairs that are predicted right; 1 minus the Hamming loss."""
    precision_micro: float
    recall_micro: float
    f1_micro: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    average_precision_macro: float | None
    """Mean over the criteria that have one; None if none has."""
    roc_auc_macro: float | None
    """Mean over the criteria that have one; None if none has."""
    calibration_error: float
    """The same over all (post, criterion) pairs."""
    per_criterion: dict[str, CriterionMetrics]


class SentenceMetrics(TypedDict):
    """Evidence of one criterion over the candidate sentences of a split."""

    sentence_precision: float
    sentence_recall: float
    sentence_f1: float
    """0 if no sentence is evidence for the criterion and none is predicted."""
    support: int
    """Number of sentences that are evidence for the criterion."""
    predicted: int
    """Number of sentences that are predicted to be."""


class EvidenceMetrics(TypedDict):
    """Evidence of all criteria. `null_accuracy` is None if every (post, criterion) pair has evidence."""

    sentence_precision_micro: float
    sentence_recall_micro: float
    sentence_f1_micro: float
    """Precision, recall and F1 over all (candidate sentence, criterion) pairs."""
    sentence_precision_macro: float
    sentence_recall_macro: float
    sentence_f1_macro: float
    """Mean over the criteria."""
    span_exact_match: float
    """F1 of whole spans: predicted ones, with adjacent ones joined, that equal annotated ones."""
    token_f1: float
    """F1 of the words inside spans, pooled over (post, criterion) pairs."""
    character_f1: float
    """F1 of the characters inside spans, pooled over (post, criterion) pairs."""
    null_accuracy: float | None
    """Share of the (post, criterion) pairs without evidence for which none is predicted."""
    per_criterion: dict[str, SentenceMetrics]


class JointMetrics(TypedDict):
    """Right criterion with right evidence, after HotpotQA (Yang et al., EMNLP 2018)."""

    precision_micro: float
    """Mean, over the predicted (post, criterion) pairs, of the precision of their evidence if the criterion
    is right, else 0."""
    recall_micro: float
    """Mean, over the true pairs, of the recall of their evidence if the criterion is predicted, else 0."""
    f1_micro: float
    """Harmonic mean of both; 0 if both are."""


class Metrics(TypedDict, total=False):
    """All metrics of a split; a section is absent if its agent is."""

    criteria: CriteriaMetrics
    evidence: EvidenceMetrics
    joint: JointMetrics
