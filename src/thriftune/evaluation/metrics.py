"""All metrics of a split, nested or by dotted name, and what trivial predictors reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from thriftune.config import ModelConfig
from thriftune.evaluation.counts import count
from thriftune.evaluation.criteria_metrics import criteria_metrics
from thriftune.evaluation.evidence_metrics import evidence_metrics, joint_metrics
from thriftune.evaluation.figures import Metrics
from thriftune.evaluation.predictions import Decisions, Matrix, Predictions

PER_CRITERION = ".per_criterion."
CURVES_PER_CRITERION = ("f1", "sentence_f1")
RARE_POSTS = 10
"""A criterion with fewer positive posts gets a warning in the report."""


def compute(predictions: Predictions, decisions: Decisions) -> Metrics:
    """Return the metrics of the criteria, the evidence and both; a section is absent if its agent is.

    Args:
        predictions: The predictions of a split with at least one post.
        decisions: Those predictions with thresholds applied.
    """
    figures: Metrics = {}
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


def flatten(figures: Mapping[str, object]) -> dict[str, float | None]:
    """Return the numbers by dotted name, in order; lists (confusion matrices) are left out.

    Args:
        figures: Metrics, or the same from a file.
    """
    return dict(_leaves(figures, ""))


def _leaves(figures: Mapping[str, object], prefix: str) -> Iterator[tuple[str, float | None]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, int | float):
            yield f"{prefix}{name}", None if value is None else float(value)


def curves(flat: Mapping[str, float | None], metric: str) -> dict[str, float | None]:
    """Return what is worth a curve over the epochs: every average and each criterion's F1.

    The rest (two thirds of all metrics: support, accuracy, calibration... of each criterion) stands in the
    validation report of the trial's best epoch.

    Args:
        flat: Metrics by dotted name.
        metric: A further name to keep: what the study optimises.
    """
    return {
        name: value
        for name, value in flat.items()
        if PER_CRITERION not in name or name.rpartition(".")[2] in CURVES_PER_CRITERION or name == metric
    }


def produced_metrics(model: ModelConfig, criteria: Sequence[str]) -> tuple[str, ...]:
    """Return the dotted names of the metrics that validation produces.

    Args:
        model: The model's parameters; an agent of weight 0 produces nothing.
        criteria: Names of the criteria.
    """
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
    """Return what trivial predictors reach on the same truth.

    They are: all criteria for every post, the majority for each criterion, every sentence as evidence for
    every criterion that its post meets, all criteria with all sentences.

    Args:
        predictions: The predictions of a split; only its truths are used.
    """
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


BASELINES_OF = {
    "criteria.f1_macro": ("criteria_f1_macro_all_positive", "criteria_f1_macro_majority"),
    "criteria.f1_micro": ("criteria_f1_micro_all_positive",),
    "evidence.sentence_f1_micro": ("sentence_f1_micro_all_of_post",),
    "joint.f1_micro": ("joint_f1_micro_everything",),
}
"""The keys of `baselines` that a metric is compared with: the best of these."""


def baseline_value(name: str, found: Mapping[str, float]) -> float | None:
    """Return what the best trivial predictor reaches of a metric.

    Args:
        name: A key of BASELINES_OF.
        found: What `baselines` returned.

    Returns:
        The value, or None if the baselines, of an older record, lack it.
    """
    return max((found[each] for each in BASELINES_OF[name] if each in found), default=None)


def warnings(predictions: Predictions, decisions: Decisions, flat: Mapping[str, float | None]) -> list[str]:
    """Return what makes the metrics doubtful, one sentence each.

    Metrics that a trivial predictor reaches, constant predictions, rare criteria, a split without evidence.

    Args:
        predictions: The predictions of a split.
        decisions: Those predictions with thresholds applied.
        flat: Their metrics by dotted name.
    """
    base = baselines(predictions)
    found = [
        f"{name}: {value:.3f} is not above {least:.3f}, which a trivial predictor reaches"
        for name in BASELINES_OF
        if (value := flat.get(name)) is not None
        and (least := baseline_value(name, base)) is not None
        and value <= least
    ]
    if decisions.sentences is not None and not predictions.sentence_true.any():
        found.append("evidence: no sentence of this split is annotated as evidence")
    for i, name in enumerate(predictions.criteria):
        decided = None if decisions.criteria is None else decisions.criteria[:, i]
        found += _criterion_warnings(name, predictions.criteria_true[:, i], decided)
    return found


def _criterion_warnings(name: str, truth: Matrix, decided: Matrix | None) -> Iterator[str]:
    """Yield what makes one criterion's metrics doubtful; [posts] bool each."""
    support = int(truth.sum())
    if support < RARE_POSTS:
        posts = "post" if support == 1 else "posts"
        yield f"{name}: only {support} positive {posts} in this split"
    if decided is not None and (decided.all() or not decided.any()):
        said = "always" if decided.all() else "never"
        yield f"{name}: the model predicts one constant ({said} met)"
