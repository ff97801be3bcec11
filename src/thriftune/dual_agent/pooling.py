"""From token vectors to one vector a group: a post, or a sentence.

Windows of a post are merged by sums over the tokens that each window owns, so the result is that of one pass
over the whole post but for the attention that a window cuts off.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .batch import Batch


class PostPooling(nn.Module):
    """One vector a post from the encoder's layers.

    mean: of its tokens; cls: of its windows' first tokens; attention: of its tokens, weighted by the softmax
    over the whole post of a learned score (Yang et al., 2016); last2: the mean of its tokens in a learned mix
    of the last two layers (Peters et al., 2018).
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
        """How many of the encoder's last layers it reads."""
        return 2 if self.kind == "last2" else 1

    def forward(self, layers: tuple[Tensor, ...], batch: Batch, groups: int) -> Tensor:
        """layers: the encoder's last ones, [windows, seq, hidden] each, the last at the end. A group (a post,
        or a post read for one criterion) without tokens is a zero vector; [groups, hidden]."""
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
    """The mean of each sentence's tokens [windows, seq, hidden]; [groups, hidden]."""
    counted = batch.owned & (batch.token_sentence >= 0)
    return mean_by(hidden[counted], batch.token_sentence[counted], groups)


def mean_by(vectors: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean of vectors [items, hidden] by group [items] in 0..groups-1; zero for an empty group."""
    sums = vectors.new_zeros((groups, vectors.shape[-1])).index_add(0, group, vectors)
    ones = vectors.new_ones(len(group))
    counts = vectors.new_zeros(groups).index_add(0, group, ones)
    return sums / counts.clamp(min=1.0)[:, None]


def weighted_by(vectors: Tensor, weights: Tensor, group: Tensor, groups: int) -> Tensor:
    """Sum of vectors [items, hidden] times weights [items] by group; [groups, hidden]."""
    return vectors.new_zeros((groups, vectors.shape[-1])).index_add(0, group, vectors * weights[:, None])


def softmax_by(scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """Softmax of scores [items] within each group [items]; [items]."""
    # Which constant is taken off changes no value: its gradient is 0, and the largest keeps exp finite.
    with torch.no_grad():
        largest = scores.new_full((groups,), -torch.inf).scatter_reduce(0, group, scores, "amax")
    grown = torch.exp(scores - largest[group])
    return grown / scores.new_zeros(groups).index_add(0, group, grown)[group]
