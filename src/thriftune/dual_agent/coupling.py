"""How the evidence that the evidence agent sees gets into what the criteria agent decides on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .evidence import Items
from .pooling import softmax_by, weighted_by

SHARPNESS = 4.0
"""Of the softmax that finds the strongest evidence."""
NOTHING = -math.log(99)
"""The logit of a hundredth: evidence that is not likely."""


class EvidenceCoupling(nn.Module):
    """Joins a post's vector with that of its evidence: the mean of its sentences (or tokens, where the
    evidence agent marks tokens), each weighted by how sure that agent is of its likeliest criterion.

    concat: both beside each other; sum: both added; gated: a learned mean of both, a share a dimension
    (Arevalo et al., 2017).
    """

    def __init__(self, kind: str, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.size = 2 * size if kind == "concat" else size
        """Of the joined vector."""
        if kind == "gated":
            self.gate = nn.Linear(2 * size, size)

    def forward(self, posts: Tensor, items: Items) -> Tensor:
        """posts [groups, hidden] and what may be their evidence; a post without any has a zero vector as
        evidence. [groups, size]."""
        # log sigmoid: the softmax of it is the sigmoid's share in the sum over the post.
        sureness = nn.functional.logsigmoid(items.logits.amax(dim=-1))
        weights = softmax_by(sureness, items.group, len(posts))
        evidence = weighted_by(items.vectors, weights, items.group, len(posts))
        if self.kind == "sum":
            return posts + evidence
        both = torch.cat([posts, evidence], dim=-1)
        if self.kind == "concat":
            return both
        share = torch.sigmoid(self.gate(both))
        return share * posts + (1 - share) * evidence


class StrongestEvidence(nn.Module):
    """What a post's strongest evidence for a criterion adds to that criterion's logit, by a learned weight: a
    criterion is met where a sentence shows it (multiple-instance learning: Maron and Lozano-Perez, 1998)."""

    def __init__(self, criteria: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(criteria))

    def forward(self, items: Items, posts: int) -> Tensor:
        """[posts, criteria] logits. The strongest is the mean of all, weighted by a sharp softmax: each
        learns, and thousands that are unlikely hide none; of a post without any it is that of evidence that
        is not likely."""
        width = items.logits.shape[1]
        column = torch.arange(width, device=items.group.device)
        group = (items.group[:, None] * width + column).reshape(-1)
        logits, groups = items.logits.reshape(-1), posts * len(self.weight)
        strongest = weighted_by(
            logits[:, None], softmax_by(SHARPNESS * logits, group, groups), group, groups
        )[:, 0]
        some = torch.zeros(groups, dtype=torch.bool, device=group.device).index_fill(0, group, True)
        return strongest.where(some, strongest.new_tensor(NOTHING)).reshape(posts, -1) * self.weight
