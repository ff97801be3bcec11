"""Couplings: how the evidence agent's findings reach the criteria agent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .evidence import EvidenceItems
from .pooling import softmax_by, weighted_by

SHARPNESS = 4.0
"""Factor on the logits in the softmax that finds the strongest evidence."""
NO_EVIDENCE_LOGIT = -math.log(99)
"""Logit of a probability of 0.01: what a post without any items counts as."""


class EvidenceCoupling(nn.Module):
    """Joins a post's vector with the vector of its evidence.

    The evidence vector is the mean of the post's sentences (or tokens, if the evidence agent marks tokens),
    each weighted by its highest probability of being evidence for a criterion.

    Args:
        kind: `concat`: both vectors side by side; `sum`: their sum; `gated`: a learned mean of both, with one
            share per dimension (Arevalo et al., 2017).
        size: Width of a post's vector.
    """

    def __init__(self, kind: str, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.size = 2 * size if kind == "concat" else size
        """Width of the joined vector."""
        if kind == "gated":
            self.gate = nn.Linear(2 * size, size)

    def forward(self, posts: Tensor, items: EvidenceItems) -> Tensor:
        """Join each post with its evidence; a post without items has a zero vector as evidence.

        Args:
            posts: `[groups, hidden]` float32.
            items: Sentences or tokens that may be evidence; `group` counts from 0 to groups - 1.

        Returns:
            `[groups, size]` float32.
        """
        # The softmax of log sigmoid is the sigmoid's share in the sum over the post.
        log_probability = nn.functional.logsigmoid(items.logits.amax(dim=-1))
        weights = softmax_by(log_probability, items.group, len(posts))
        evidence = weighted_by(items.vectors, weights, items.group, len(posts))
        if self.kind == "sum":
            return posts + evidence
        both = torch.cat([posts, evidence], dim=-1)
        if self.kind == "concat":
            return both
        share = torch.sigmoid(self.gate(both))
        return share * posts + (1 - share) * evidence


class StrongestEvidence(nn.Module):
    """Adds the logit of a post's strongest evidence for a criterion to that criterion's logit.

    A criterion is met if one sentence shows it: multiple-instance learning (Maron and Lozano-Perez, 1998).

    Args:
        criteria: Number of criteria; each has one learned weight.
    """

    def __init__(self, criteria: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(criteria))

    def forward(self, items: EvidenceItems, posts: int) -> Tensor:
        """Return the strongest evidence for each criterion, times the learned weight.

        "Strongest" is the mean of all items weighted by a sharp softmax: every item gets a gradient, and
        thousands of unlikely ones cannot hide a likely one. A post without items counts as NO_EVIDENCE_LOGIT.

        Args:
            items: Sentences or tokens that may be evidence.
            posts: Number of posts in the batch.

        Returns:
            `[posts, criteria]` float32, to be added to the criteria agent's logits.
        """
        width = items.logits.shape[1]
        column = torch.arange(width, device=items.group.device)
        group = (items.group[:, None] * width + column).reshape(-1)
        logits, groups = items.logits.reshape(-1), posts * len(self.weight)
        strongest = weighted_by(
            logits[:, None], softmax_by(SHARPNESS * logits, group, groups), group, groups
        )[:, 0]
        some = torch.zeros(groups, dtype=torch.bool, device=group.device).index_fill(0, group, True)
        return strongest.where(some, strongest.new_tensor(NO_EVIDENCE_LOGIT)).reshape(posts, -1) * self.weight
