"""Pooling: from token vectors to one vector per group, where a group is a post or a sentence.

The windows of a post are merged by sums over the tokens that each window owns. The result equals one pass
over the whole post, except for the attention that a window cuts off.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .batch import Batch


class PostPooling(nn.Module):
    """Pools the encoder's layers to one vector per post.

    Args:
        kind: `mean` of the post's tokens; `cls`, the mean of its windows' first tokens; `attention`, the mean
            of its tokens weighted by the softmax over the whole post of a learned score (Yang et al., 2016);
            `last2`, the mean of its tokens in a learned mix of the last two layers (Peters et al., 2018).
        size: Width of the vectors.
    """

    def __init__(self, kind: str, size: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "attention":
            self.score = nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1, bias=False))
        elif kind == "last2":
            self.mix = nn.Parameter(torch.zeros(2))

    @property
    def layers(self) -> int:
        """Number of the encoder's last layers that are read."""
        return 2 if self.kind == "last2" else 1

    def forward(self, layers: tuple[Tensor, ...], batch: Batch, groups: int) -> Tensor:
        """Pool the tokens of each group; a group without tokens becomes a zero vector.

        Args:
            layers: The encoder's last layers, `[windows, seq, hidden]` float32 each, the last one at the end.
            batch: The batch that the encoder has read.
            groups: Number of groups: posts, or post x criterion pairs.

        Returns:
            `[groups, hidden]` float32.
        """
        hidden = layers[-1]
        if self.kind == "cls":
            return mean_by(hidden[:, 0], batch.window_group, groups)
        if self.kind == "last2":
            share = torch.softmax(self.mix, dim=0)
            hidden = share[0] * layers[-2] + share[1] * layers[-1]
        tokens = hidden[batch.owned]  # [owned tokens, hidden]
        group = batch.window_group[:, None].expand_as(batch.owned)[batch.owned]
        if self.kind == "attention":
            weights = softmax_by(self.score(tokens)[:, 0], group, groups)
            return weighted_by(tokens, weights, group, groups)
        return mean_by(tokens, group, groups)


def pool_sentences(hidden: Tensor, batch: Batch, groups: int) -> Tensor:
    """Return the mean of each sentence's tokens, a zero vector for a sentence without tokens.

    Args:
        hidden: `[windows, seq, hidden]` float32.
        batch: The batch that the encoder has read; padding and tokens that a window does not own are skipped.
        groups: Number of sentences, or sentence x criterion pairs.

    Returns:
        `[groups, hidden]` float32.
    """
    counted = batch.owned & (batch.token_sentence >= 0)
    return mean_by(hidden[counted], batch.token_sentence[counted], groups)


def mean_by(vectors: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the mean of the vectors of each group, a zero vector for an empty one.

    Args:
        vectors: `[items, hidden]` float32.
        group: `[items]` int64, from 0 to groups - 1.
        groups: Number of groups.

    Returns:
        `[groups, hidden]` float32.
    """
    sums = vectors.new_zeros((groups, vectors.shape[-1])).index_add(0, group, vectors)
    ones = vectors.new_ones(len(group))
    counts = vectors.new_zeros(groups).index_add(0, group, ones)
    return sums / counts.clamp(min=1.0)[:, None]


def weighted_by(vectors: Tensor, weights: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the weighted sum of the vectors of each group.

    Args:
        vectors: `[items, hidden]` float32.
        weights: `[items]` float32.
        group: `[items]` int64, from 0 to groups - 1.
        groups: Number of groups.

    Returns:
        `[groups, hidden]` float32; zero for an empty group.
    """
    return vectors.new_zeros((groups, vectors.shape[-1])).index_add(0, group, vectors * weights[:, None])


def softmax_by(scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the softmax of the scores within each group.

    Args:
        scores: `[items]` float32.
        group: `[items]` int64, from 0 to groups - 1.
        groups: Number of groups.

    Returns:
        `[items]` float32; the items of each group sum to 1.
    """
    # Subtracting a constant changes no value, so it needs no gradient; the largest keeps exp finite.
    with torch.no_grad():
        largest = scores.new_full((groups,), -torch.inf).scatter_reduce(0, group, scores, "amax")
    grown = torch.exp(scores - largest[group])
    return grown / scores.new_zeros(groups).index_add(0, group, grown)[group]
