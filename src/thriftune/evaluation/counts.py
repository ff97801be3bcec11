"""Precision, recall and F1 from counts; an empty denominator gives 0: scikit-learn's zero_division=0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thriftune.evaluation.predictions import Matrix


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives; [criteria] each, or [samples, criteria]."""

    hits: Matrix
    false_alarms: Matrix
    misses: Matrix

    @property
    def precision(self) -> Matrix:
        """Hits over hits and false alarms; 0 if nothing is predicted."""
        return _ratio(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> Matrix:
        """Hits over hits and misses; 0 if nothing is true."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> Matrix:
        """Twice the hits over twice the hits, false alarms and misses; 0 if nothing is true or predicted."""
        return _ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)

    def micro(self) -> Counts:
        """Return the counts of all criteria as one; [1] each."""
        return Counts(*(np.array([part.sum()]) for part in (self.hits, self.false_alarms, self.misses)))


def count(truth: Matrix, predicted: Matrix) -> Counts:
    """Return the counts of each column.

    Args:
        truth: [items, criteria] bool.
        predicted: [items, criteria] bool.
    """
    return Counts((truth & predicted).sum(0), (~truth & predicted).sum(0), (truth & ~predicted).sum(0))


def _ratio(upper: Matrix, lower: Matrix) -> Matrix:
    return np.divide(upper, lower, out=np.zeros(np.shape(upper), dtype=float), where=lower > 0)
