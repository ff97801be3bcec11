"""How the evidence that the evidence agent sees gets into what the criteria agent decides on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thriftune.model.batch import Batch
from thriftune.model.pooling import softmax_by, weighted_by


class EvidenceCoupling(nn.Module):
    """Joins a post's vector with that of its evidence: the mean of its sentences, each weighted by how sure
    the evidence agent is of its likeliest criterion.

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

    def forward(self, posts: Tensor, sentences: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """posts [posts, hidden], sentences [sentences, hidden] and their logits [sentences, criteria]; a post
        without sentences has a zero vector as evidence. [posts, size]."""
        # log sigmoid: the softmax of it is the sigmoid's share in the sum over the post.
        sureness = nn.functional.logsigmoid(logits.amax(dim=-1))
        weights = softmax_by(sureness, batch.sentence_post, batch.n_posts)
        evidence = weighted_by(sentences, weights, batch.sentence_post, batch.n_posts)
        if self.kind == "sum":
            return posts + evidence
        both = torch.cat([posts, evidence], dim=-1)
        if self.kind == "concat":
            return both
        share = torch.sigmoid(self.gate(both))
        return share * posts + (1 - share) * evidence
