"""The losses of both agents, and their joint loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from thriftune.config import AgentConfig
from thriftune.dual_agent.agents import Outputs
from thriftune.dual_agent.batch import Batch
from thriftune.dual_agent.chain import BEGIN, INSIDE, OUTSIDE
from thriftune.dual_agent.evidence import BiaffineScorer, EvidenceOutputs, SpanScorer, Tagger, padded
from thriftune.dual_agent.ranges import ranges_inside
from thriftune.model.trainable import DualAgent


def positive_weights(positives: Tensor, total: int, ceiling: float) -> Tensor:
    """Return the weight of positives of each criterion: negatives / positives, between 1 and the ceiling.

    Args:
        positives: `[criteria]`, number of positive examples.
        total: Number of examples.
        ceiling: Highest weight, at least 1.

    Returns:
        `[criteria]` float32.
    """
    counts = positives.to(torch.float32)
    return ((total - counts) / counts.clamp(min=1.0)).clamp(min=1.0, max=ceiling)


def element_loss(
    logits: Tensor,
    targets: Tensor,
    config: AgentConfig,
    weights: Tensor | None,
) -> Tensor:
    """Return the loss of each element.

    `bce` and `weighted_bce` are binary cross-entropy, `focal` is the loss of Lin et al. (2017), `asymmetric`
    that of Ridnik et al. (2021), and `hybrid` a weighted mean of focal and weighted cross-entropy.

    Args:
        logits: `[..., criteria]` float32.
        targets: `[..., criteria]` float32, 0 or 1; label smoothing (Szegedy et al., 2016) is applied here.
        config: Kind of loss and its parameters.
        weights: `[criteria]` float32, weights of positives for `weighted_bce` and `hybrid`; None for 1.

    Returns:
        `[..., criteria]` float32.
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
    """Compute (1 - p_t)^gamma times cross-entropy, without alpha (Lin et al., 2017)."""
    missed = torch.sigmoid(torch.where(targets > 0.5, -logits, logits))  # 1 - p_t
    return _power(missed, gamma) * _cross_entropy(logits, smoothed, None)


def _asymmetric(logits: Tensor, targets: Tensor, config: AgentConfig) -> Tensor:
    """Return the asymmetric loss (Ridnik et al., 2021), which ignores negatives with p below the margin.

    It is -y (1 - p)^gamma+ log p - (1 - y) p_m^gamma- log(1 - p_m) with p_m = max(p - margin, 0).
    """
    margin, missed = config.asymmetric_margin, torch.sigmoid(-logits)  # 1 - p
    positive = _power(missed, config.asymmetric_gamma_positive) * functional.logsigmoid(logits)
    shifted = (torch.sigmoid(logits) - margin).clamp(min=0.0)
    left = (missed + margin).clamp(max=1.0).log() if margin else functional.logsigmoid(-logits)
    negative = _power(shifted, config.asymmetric_gamma_negative) * left
    return -(targets * positive + (1 - targets) * negative)


def _power(base: Tensor, exponent: float) -> Tensor:
    """Raise probabilities to a power; 0 is clamped if the slope would be infinite there."""
    if 0 < exponent < 1:
        base = base.clamp(min=torch.finfo(base.dtype).tiny)
    return base**exponent


def joint_loss(
    agent: DualAgent,
    outputs: Outputs,
    batch: Batch,
    criteria_weights: Tensor | None,
    evidence_weights: Tensor | None,
) -> Tensor:
    """Return the sum of both agents' losses times their weights, a scalar.

    Args:
        agent: The agent that made the outputs.
        outputs: Its result for the batch.
        batch: The batch; elements with weight 0 or unknown evidence are excluded from all means.
        criteria_weights: `[criteria]` float32, see element_loss; of posts.
        evidence_weights: `[criteria]` float32, see element_loss; of sentences or tokens.
    """
    total, config = outputs.zero(), agent.config
    if outputs.criteria_logits is not None:
        losses = element_loss(
            outputs.criteria_logits, batch.criteria_targets, config.criteria_agent, criteria_weights
        )
        total = total + config.criteria_agent.weight * losses.mean()
    if outputs.evidence is not None:
        loss = _evidence_loss(agent, outputs.evidence, batch, evidence_weights)
        total = total + config.evidence_agent.weight * loss
    return total


def _evidence_loss(
    agent: DualAgent, evidence: EvidenceOutputs, batch: Batch, positive: Tensor | None
) -> Tensor:
    """Return the evidence agent's loss.

    Sentences are averaged. Scores of tokens and of ranges are summed and divided by the number of annotated
    ranges, or of posts if that is larger, as Lin et al. (2017) normalise by the number of objects. A tagger's
    loss is its cross-entropy, or its chain's negative log-likelihood, per token.
    """
    config, logits = agent.config.evidence_agent, evidence.logits
    if isinstance(agent.evidence_agent, Tagger):
        return _tagging_loss(agent.evidence_agent, evidence, batch)
    if evidence.counts is None:
        losses = element_loss(logits, batch.sentence_targets, config, positive)
        counted = batch.sentence_weights.sum().clamp(min=1.0)
        return (losses * batch.sentence_weights).sum() / counted
    assert isinstance(agent.evidence_agent, SpanScorer | BiaffineScorer)
    longest = agent.evidence_agent.longest
    targets = torch.zeros_like(logits)
    post, criterion, first, last = batch.evidence_tokens.unbind(dim=1)
    last = torch.minimum(last, first + longest - 1)
    found = batch.evidence_known[post, criterion].sum()
    begin = (evidence.counts.cumsum(0) - evidence.counts)[post]
    known = batch.evidence_known.repeat_interleave(evidence.counts, dim=0)[:, None]  # [tokens, 1, criteria]
    if isinstance(agent.evidence_agent, BiaffineScorer):
        targets[begin + first, last - first, criterion] = 1.0
        known = known * ranges_inside(evidence.counts, longest)[:, :, None]
    else:
        targets[begin + first, 0, criterion] = targets[begin + last, 1, criterion] = 1.0
    plain = config.model_copy(update={"label_smoothing": 0.0})
    losses = element_loss(logits, targets, plain, positive)
    return (losses * known).sum() / found.clamp(min=batch.n_posts)


def _tagging_loss(agent: Tagger, evidence: EvidenceOutputs, batch: Batch) -> Tensor:
    emissions, there = padded(evidence)
    labels = torch.full(emissions.shape[:-1], OUTSIDE, device=there.device)
    for post, criterion, first, last in batch.evidence_tokens.tolist():
        labels[post, first, criterion] = BEGIN
        labels[post, first + 1 : last + 1, criterion] = INSIDE
    counted = there[:, :, None] * batch.evidence_known[:, None]  # [posts, tokens, criteria]
    if agent.chain.learned:
        likelihood = agent.chain.log_likelihood(emissions, there, labels)
        some = batch.evidence_known * there.any(dim=1, keepdim=True)
        return -(likelihood * some).sum() / counted.sum().clamp(min=1.0)
    losses = functional.cross_entropy(emissions.flatten(0, 2), labels.flatten(), reduction="none")
    return (losses * counted.flatten()).sum() / counted.sum().clamp(min=1.0)
