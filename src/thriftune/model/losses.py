"""Losses of the two agents and their joint loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from thriftune.config import AgentConfig, ModelConfig
from thriftune.model.agents import Outputs
from thriftune.model.batch import Batch


def positive_weights(positives: Tensor, total: int, ceiling: float) -> Tensor:
    """negatives / positives of each criterion, between 1 and the ceiling; [criteria] float32.

    positives: number of positive examples [criteria].
    """
    counts = positives.to(torch.float32)
    return ((total - counts) / counts.clamp(min=1.0)).clamp(min=1.0, max=ceiling)


def element_loss(
    logits: Tensor,
    targets: Tensor,
    config: AgentConfig,
    weights: Tensor | None,
) -> Tensor:
    """The loss of each element, of the shape of logits [..., criteria].

    targets: 0 or 1, smoothed here (Szegedy et al., 2016). weights: of positives [criteria], for weighted_bce
    and hybrid.
    """
    smoothed = targets * (1 - config.label_smoothing) + config.label_smoothing / 2
    match config.loss:
        case "weighted_bce":
            return _cross_entropy(logits, smoothed, weights)
        case "focal":
            return _focal(logits, targets, smoothed, config.focal_gamma)
        case "asymmetric":
            return _asymmetric(logits, smoothed, config)
        case "hybrid":
            share = config.hybrid_focal_share
            focal = _focal(logits, targets, smoothed, config.focal_gamma)
            return share * focal + (1 - share) * _cross_entropy(logits, smoothed, weights)
    return _cross_entropy(logits, smoothed, None)


def _cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none")


def _focal(logits: Tensor, targets: Tensor, smoothed: Tensor, gamma: float) -> Tensor:
    """(1 - p_t)^gamma times cross-entropy, without alpha (Lin et al., 2017)."""
    missed = torch.sigmoid(torch.where(targets > 0.5, -logits, logits))  # 1 - p_t
    return missed**gamma * _cross_entropy(logits, smoothed, None)


def _asymmetric(logits: Tensor, targets: Tensor, config: AgentConfig) -> Tensor:
    """Focusing of positives and negatives apart, and negatives under a margin left out (Ridnik et al., 2021).

    -y (1 - p)^gamma+ log p - (1 - y) p_m^gamma- log(1 - p_m), p_m = max(p - margin, 0).
    """
    p = torch.sigmoid(logits)
    positive = (1 - p) ** config.asymmetric_gamma_positive * functional.logsigmoid(logits)
    shifted = (p - config.asymmetric_margin).clamp(min=0.0)
    negative = shifted**config.asymmetric_gamma_negative * torch.log1p(-shifted.clamp(max=1 - 1e-7))
    return -(targets * positive + (1 - targets) * negative)


def joint_loss(
    outputs: Outputs,
    batch: Batch,
    config: ModelConfig,
    criteria_weights: Tensor | None,
    evidence_weights: Tensor | None,
) -> Tensor:
    """weight x mean loss of each agent, summed; scalar. Elements of weight 0 count in no mean."""
    total = outputs.zero()
    if outputs.criteria_logits is not None:
        losses = element_loss(
            outputs.criteria_logits, batch.criteria_targets, config.criteria_agent, criteria_weights
        )
        total = total + config.criteria_agent.weight * losses.mean()
    if outputs.sentence_logits is not None:
        losses = element_loss(
            outputs.sentence_logits, batch.sentence_targets, config.evidence_agent, evidence_weights
        )
        counted = batch.sentence_weights.sum().clamp(min=1.0)
        total = total + config.evidence_agent.weight * ((losses * batch.sentence_weights).sum() / counted)
    return total
