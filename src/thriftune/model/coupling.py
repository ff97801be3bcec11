"""How the evidence that the evidence agent sees gets into what the criteria agent decides on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thriftune.model.evidence import Items
from thriftune.model.pooling import softmax_by, weighted_by


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
        weights = softmax_by(nn.functional.logsigmoid(items.logits), items.group, len(posts))
        evidence = weighted_by(items.vectors, weights, items.group, len(posts))
        if self.kind == "sum":
            return posts + evidence
        both = torch.cat([posts, evidence], dim=-1)
        if self.kind == "concat":
            return both
        share = torch.sigmoid(self.gate(both))
        return share * posts + (1 - share) * evidence
