"""Precision, recall and F1 from counts; an empty denominator gives 0, as scikit-learn with
zero_division=0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thriftune.evaluation.predictions import Matrix


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives; [criteria] each."""

    hits: Matrix
    false_alarms: Matrix
    misses: Matrix

    @property
    def precision(self) -> Matrix:
        return _ratio(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> Matrix:
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> Matrix:
        return _ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)

    def micro(self) -> Counts:
        """All criteria as one; [1] each."""
        return Counts(*(np.array([part.sum()]) for part in (self.hits, self.false_alarms, self.misses)))


def count(truth: Matrix, predicted: Matrix) -> Counts:
    """Counts per column of two bool arrays [items, criteria]."""
    return Counts((truth & predicted).sum(0), (~truth & predicted).sum(0), (truth & ~predicted).sum(0))


def _ratio(upper: Matrix, lower: Matrix) -> Matrix:
    return np.divide(upper, lower, out=np.zeros(np.shape(upper), dtype=float), where=lower > 0)
