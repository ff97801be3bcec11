"""All figures of a split as one nested value, and flattened to dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from thriftune.config import ModelConfig
from thriftune.evaluation.counts import count
from thriftune.evaluation.criteria_metrics import criteria_metrics
from thriftune.evaluation.evidence_metrics import evidence_metrics, joint_metrics
from thriftune.evaluation.predictions import Decisions, Predictions

PER_CRITERION = ".per_criterion."
CURVES_PER_CRITERION = ("f1", "sentence_f1")
RARE_POSTS = 10
"""Fewer positive posts than this give a warning in the report."""


def compute(predictions: Predictions, decisions: Decisions) -> dict[str, Any]:
    """criteria, evidence and joint figures; a section is absent where its agent is."""
    figures: dict[str, Any] = {}
    if decisions.criteria is not None and predictions.criteria_prob is not None:
        figures["criteria"] = criteria_metrics(
            predictions.criteria,
            predictions.criteria_true,
            predictions.criteria_prob,
            decisions.criteria,
        )
    if decisions.sentences is not None:
        figures["evidence"] = evidence_metrics(predictions, decisions)
    if decisions.criteria is not None and decisions.sentences is not None:
        figures["joint"] = joint_metrics(predictions, decisions)
    return figures


def flatten(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float | None]:
    """Scalars by dotted name, in order; lists (confusion matrices, intervals) are left out."""
    return dict(_leaves(figures, prefix))


def _leaves(figures: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float | None]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, int | float):
            yield f"{prefix}{name}", None if value is None else float(value)


def curves(flat: Mapping[str, float | None], metric: str) -> dict[str, float | None]:
    """What is worth a curve over the epochs: every average, each criterion's F1, and `metric` whatever it is.

    The rest (two thirds of all figures: support, accuracy, calibration... of each criterion) stands in the
    validation report of the trial's best epoch.
    """
    return {
        name: value
        for name, value in flat.items()
        if PER_CRITERION not in name or name.rpartition(".")[2] in CURVES_PER_CRITERION or name == metric
    }


def produced_metrics(model: ModelConfig, criteria: Sequence[str]) -> tuple[str, ...]:
    """The dotted names that validation makes, for the check of study.metric before training."""
    size = len(criteria)
    empty = np.zeros((1, size), dtype=bool)
    probabilities = np.zeros((1, size), dtype=np.float32)
    has_criteria, has_evidence = model.criteria_agent.weight > 0, model.evidence_agent.weight > 0
    nothing = Predictions(
        criteria=tuple(criteria),
        post_ids=("",),
        criteria_true=empty,
        criteria_prob=probabilities if has_criteria else None,
        sentence_post=np.zeros(1, dtype=int),
        sentence_spans=np.zeros((1, 2), dtype=int),
        sentence_true=empty,
        sentence_prob=probabilities if has_evidence else None,
        evidence_true=((),),
        words=((),),
    )
    decided = Decisions(empty if has_criteria else None, empty if has_evidence else None)
    return tuple(flatten(compute(nothing, decided)))


def baselines(predictions: Predictions) -> dict[str, float]:
    """Figures of trivial predictors on the same truth: criteria F1 of predicting all criteria of every post
    (and, macro, each criterion's majority), sentence micro-F1 of marking every candidate with every criterion
    that its post really meets, and joint F1 of all criteria with all candidates."""
    truth, sentences = predictions.criteria_true, predictions.sentence_true
    majority = np.broadcast_to(truth.mean(axis=0) > 0.5, truth.shape)
    marked = truth[predictions.sentence_post]
    every = count(truth, np.ones_like(truth))
    everything = Decisions(np.ones_like(truth), np.ones_like(sentences))
    return {
        "criteria_f1_macro_all_positive": float(every.f1.mean()),
        "criteria_f1_macro_majority": float(count(truth, majority).f1.mean()),
        "criteria_f1_micro_all_positive": float(every.micro().f1[0]),
        "sentence_f1_micro_all_of_post": float(count(sentences, marked).micro().f1[0]),
        "joint_f1_micro_everything": joint_metrics(predictions, everything)["f1_micro"],
    }


TRIVIAL = {
    "criteria.f1_macro": ("criteria_f1_macro_all_positive", "criteria_f1_macro_majority"),
    "criteria.f1_micro": ("criteria_f1_micro_all_positive",),
    "evidence.sentence_f1_micro": ("sentence_f1_micro_all_of_post",),
    "joint.f1_micro": ("joint_f1_micro_everything",),
}
"""Which of `baselines` a figure is held against: the best of these."""


def trivial(name: str, found: Mapping[str, float]) -> float | None:
    """What a trivial predictor reaches of a figure; None where the baselines (of an older record) lack it."""
    return max((found[each] for each in TRIVIAL[name] if each in found), default=None)


def warnings(predictions: Predictions, decisions: Decisions, flat: Mapping[str, float | None]) -> list[str]:
    """What makes the figures doubtful: figures that a trivial predictor reaches, constant predictions, rare
    criteria, no evidence to compare with. flat: the figures by dotted name."""
    base = baselines(predictions)
    found = [
        f"{name}: {value:.3f} is not above {least:.3f}, which a trivial predictor reaches"
        for name in TRIVIAL
        if (value := flat.get(name)) is not None
        and (least := trivial(name, base)) is not None
        and value <= least
    ]
    if decisions.sentences is not None and not predictions.sentence_true.any():
        found.append("evidence: no sentence of this split is annotated as evidence")
    for i, name in enumerate(predictions.criteria):
        support = int(predictions.criteria_true[:, i].sum())
        if support < RARE_POSTS:
            posts = "post" if support == 1 else "posts"
            found.append(f"{name}: only {support} positive {posts} in this split")
        if decisions.criteria is not None:
            column = decisions.criteria[:, i]
            if column.all() or not column.any():
                said = "always" if column.all() else "never"
                found.append(f"{name}: the model predicts one constant ({said} met)")
    return found
