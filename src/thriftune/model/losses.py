"""Losses of the two agents and their joint loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from thriftune.config import CriteriaAgentConfig, EvidenceAgentConfig, ModelConfig
from thriftune.model.batch import Batch
from thriftune.model.dual_agent import Outputs


def positive_weights(positives: Tensor, total: int, ceiling: float) -> Tensor:
    """negatives / positives of each criterion, between 1 and the ceiling; [criteria] float32.

    positives: number of positive examples [criteria].
    """
    counts = positives.to(torch.float32)
    return ((total - counts) / counts.clamp(min=1.0)).clamp(min=1.0, max=ceiling)


def element_loss(
    logits: Tensor,
    targets: Tensor,
    config: CriteriaAgentConfig | EvidenceAgentConfig,
    weights: Tensor | None,
) -> Tensor:
    """The loss of each element, of the shape of logits [..., criteria].

    bce: binary cross-entropy; weighted_bce: positives times `weights` [criteria]; focal: Lin et al.
    (2017), (1 - p_t)^gamma times cross-entropy, without alpha.
    """
    if config.loss == "weighted_bce":
        return functional.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=weights, reduction="none"
        )
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if config.loss == "bce":
        return entropy
    return (1.0 - torch.exp(-entropy)) ** config.focal_gamma * entropy


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
