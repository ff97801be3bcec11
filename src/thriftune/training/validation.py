"""Validation at an epoch's end: predict, tune the thresholds, compute the metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from thriftune.corpus.rows import Row
from thriftune.dual_agent.batch import Collator
from thriftune.evaluation.figures import Metrics
from thriftune.evaluation.metrics import compute, flatten, warnings
from thriftune.evaluation.predict import predict
from thriftune.evaluation.predictions import decide
from thriftune.evaluation.thresholds import tune_all
from thriftune.model.trainable import DualAgent
from thriftune.training.loop import DivergedError


@dataclass(frozen=True)
class Validation:
    """The result of one validation."""

    figures: Metrics
    flat: Mapping[str, float | None]
    """The figures' numbers by dotted name."""
    thresholds: Mapping[str, list[float]]
    """The tuned thresholds of `criteria` and `evidence`, one for each criterion."""
    warnings: list[str]


def validate(
    agent: DualAgent,
    rows: Sequence[Row],
    collator: Collator,
    batch_size: int,
    on_batch: Callable[[], None] = lambda: None,
) -> Validation:
    """Return the metrics of an agent at the thresholds that suit it best, which it keeps.

    Args:
        agent: The agent.
        rows: Tokenised posts of the validation split.
        collator: Makes batches of rows.
        batch_size: Posts of a batch.
        on_batch: Called after each batch; may raise to stop.

    Raises:
        DivergedError: After the last steps of training the probabilities are not finite.
    """
    predictions = predict(agent, rows, collator, batch_size, on_batch)
    for probabilities in (predictions.criteria_prob, predictions.sentence_prob):
        if probabilities is not None and not np.isfinite(probabilities).all():
            raise DivergedError(
                "validation found probabilities that are not finite",
                remedy="lower training.learning_rate, or set training.clip_norm.",
            )
    criteria, evidence = tune_all(predictions)
    agent.set_thresholds(torch.from_numpy(criteria), torch.from_numpy(evidence))
    decisions = decide(predictions, criteria, evidence)
    figures = compute(predictions, decisions)
    flat = flatten(figures)
    return Validation(
        figures=figures,
        flat=flat,
        thresholds={"criteria": criteria.tolist(), "evidence": evidence.tolist()},
        warnings=warnings(predictions, decisions, flat),
    )
