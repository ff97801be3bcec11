"""Evidence agents: from the encoder's token vectors to what in a post is evidence for which criterion.

sentence: a score a candidate sentence. span: a start and an end score a token. biaffine: a score a range of
tokens (Dozat and Manning, 2017; Yu et al., 2020). tagger: a label a token, outside, begin or inside (Ramshaw
and Marcus, 1995), and crf_tagger with a linear chain over them (Lafferty et al., 2001). Each is free to find
nothing. torch alone: an exported model brings this module along.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .batch import Batch
from .chain import BEGIN, INSIDE, OUTSIDE, LinearChain
from .heads import build_head
from .pooling import pool_sentences

LEAST_SCORE = 0.02
"""Ranges less probable than this are not looked at."""
PRIOR = 0.01
"""How probable a start, an end or a range is before training, so that the many that are none do not drown
the few (Lin et al., 2017)."""
BIAFFINE_SIZE = 64
"""Of the vectors in which starts and ends are compared."""

Range = tuple[int, int, int, float]
"""Criterion, first and last token of the post, score between 0 and 1."""


@dataclass(frozen=True)
class Items:
    """What the coupling may take as a post's evidence."""

    vectors: Tensor
    """[items, hidden]"""
    logits: Tensor
    """[items, criteria]: of being evidence; of pairs [items, 1]"""
    group: Tensor
    """[items] int64: the post of each (a pair's group, see Batch)"""


@dataclass(frozen=True)
class EvidenceOutputs:
    """What an evidence agent says of a batch."""

    logits: Tensor
    """[sentences, criteria]; of tokens [tokens, 2, criteria] (start, end), [tokens, width, criteria] or
    [tokens, 3, criteria] (outside, begin, inside), the tokens of all posts in order"""
    items: Items
    counts: Tensor | None = None
    """[posts] int64: how many tokens each post has; None where sentences are scored"""


class EvidenceAgent(nn.Module, ABC):
    """A kind of evidence agent; `pairs` times as many groups of tokens as posts are read."""

    def __init__(self, criteria: int, pairs: int) -> None:
        super().__init__()
        self.pairs = pairs
        self.width = criteria if pairs == 1 else 1
        """For how many criteria one vector is read."""

    @abstractmethod
    def forward(self, hidden: Tensor, batch: Batch) -> EvidenceOutputs:
        """hidden: the encoder's last layer, [windows, seq, hidden]."""

    def _groups(self, post: Tensor) -> Tensor:
        """[items] posts to [items * pairs] groups."""
        criterion = torch.arange(self.pairs, device=post.device)
        return (post[:, None] * self.pairs + criterion).reshape(-1)


class SentenceScorer(EvidenceAgent):
    """A head on the mean of each candidate sentence's tokens."""

    def __init__(self, head: str, size: int, criteria: int, dropout: float, pairs: int) -> None:
        super().__init__(criteria, pairs)
        self.head = build_head(head, size, self.width, dropout)

    def forward(self, hidden: Tensor, batch: Batch) -> EvidenceOutputs:
        vectors = pool_sentences(hidden, batch, batch.n_sentences * self.pairs)
        logits = self.head(vectors)
        # A sentence whose windows were left out says nothing.
        tokens = batch.token_sentence[batch.owned & (batch.token_sentence >= 0)]
        read = torch.zeros(len(vectors), dtype=torch.bool, device=tokens.device).index_fill(0, tokens, True)
        items = Items(vectors[read], logits[read], self._groups(batch.sentence_post)[read])
        return EvidenceOutputs(logits.reshape(batch.n_sentences, self.pairs * self.width), items)


class TokenAgent(EvidenceAgent):
    """What scores tokens, or ranges that begin at one."""

    def forward(self, hidden: Tensor, batch: Batch) -> EvidenceOutputs:
        vectors, post = self._tokens(hidden, batch)
        counts = torch.bincount(post, minlength=batch.n_posts)
        logits = self.score(vectors)
        sure = self.sureness(logits, counts)  # [tokens, criteria]
        if self.pairs == 1:
            items = Items(vectors, sure, post)
        else:
            items = Items(vectors.flatten(0, 1), sure.reshape(-1, 1), self._groups(post))
        return EvidenceOutputs(logits, items, counts)

    @abstractmethod
    def score(self, vectors: Tensor) -> Tensor:
        """Logits [tokens, ..., criteria] of vectors [tokens, hidden]; of pairs [tokens, criteria, hidden]."""

    @abstractmethod
    def sureness(self, logits: Tensor, counts: Tensor) -> Tensor:
        """Logits of a token being evidence, [tokens, criteria]; counts: tokens of each post."""

    @abstractmethod
    def ranges(self, outputs: EvidenceOutputs) -> list[list[Range]]:
        """Of each post the ranges that may be evidence; those of one criterion do not overlap. What is left
        of them at a threshold is what would have been found with it."""

    def _tokens(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The owned tokens of each post in order, and the post of each."""
        group = batch.window_group[:, None].expand_as(batch.owned)[batch.owned]
        vectors = hidden[batch.owned]
        if self.pairs == 1:
            return vectors, group
        counts = torch.bincount(group, minlength=batch.n_posts * self.pairs)
        place = torch.arange(len(group), device=group.device) - (counts.cumsum(0) - counts)[group]
        post, criterion = group // self.pairs, group % self.pairs
        order = ((post * len(group) + place) * self.pairs + criterion).argsort()
        return vectors[order].reshape(-1, self.pairs, vectors.shape[-1]), post[order][:: self.pairs]

    def _by_criterion(self, logits: Tensor, parts: int) -> Tensor:
        """[tokens, parts * criteria], or [tokens, criteria, parts] of pairs, to [tokens, parts, criteria]."""
        if self.pairs == 1:
            return logits.reshape(len(logits), parts, self.width)
        return logits.transpose(1, 2)


class SpanScorer(TokenAgent):
    """Whether a range starts at a token, and whether one ends there; a range's score is the product of both
    probabilities."""

    def __init__(self, head: str, size: int, criteria: int, dropout: float, pairs: int, longest: int) -> None:
        """longest: tokens of a range."""
        super().__init__(criteria, pairs)
        self.longest = longest
        self.head = build_head(head, size, 2 * self.width, dropout)
        self.prior_bias = nn.Parameter(torch.full((2,), _logit(PRIOR)))

    def score(self, vectors: Tensor) -> Tensor:
        return self._by_criterion(self.head(vectors), 2) + self.prior_bias[:, None]

    def sureness(self, logits: Tensor, counts: Tensor) -> Tensor:
        return logits.amax(dim=1)

    def ranges(self, outputs: EvidenceOutputs) -> list[list[Range]]:
        assert outputs.counts is not None
        found = []
        for logits in torch.split(outputs.logits.float().cpu(), outputs.counts.tolist()):
            start, end = torch.sigmoid(logits).unbind(dim=1)  # [tokens, criteria]
            found.append(_of_tables(start[:, :, None] * _from_each_on(end, self.longest)))
        return found


class BiaffineScorer(TokenAgent):
    """A score of each range of at most so many tokens from the vectors of its first and its last one."""

    def __init__(self, head: str, size: int, criteria: int, dropout: float, pairs: int, longest: int) -> None:
        super().__init__(criteria, pairs)
        self.longest = longest
        self.start = build_head(head, size, BIAFFINE_SIZE, dropout)
        self.end = build_head(head, size, BIAFFINE_SIZE, dropout)
        # One more row and column: what a start or an end says by itself, and the prior.
        self.weight = nn.Parameter(torch.empty(self.width, BIAFFINE_SIZE + 1, BIAFFINE_SIZE + 1))
        nn.init.normal_(self.weight, std=1 / BIAFFINE_SIZE)
        with torch.no_grad():
            self.weight[:, -1, -1] = _logit(PRIOR)

    def score(self, vectors: Tensor) -> Tensor:
        first, last = _with_one(self.start(vectors)), _with_one(self.end(vectors))
        # [tokens, (criteria,) size, longest]: the vectors of the tokens from each one on
        ends = _from_each_on(last, self.longest)
        if self.pairs == 1:
            weighed = torch.einsum("ni,cij->ncj", first, self.weight)
            return torch.einsum("ncj,njw->nwc", weighed, ends)
        weighed = torch.einsum("nci,ij->ncj", first, self.weight[0])
        return torch.einsum("ncj,ncjw->nwc", weighed, ends)

    def sureness(self, logits: Tensor, counts: Tensor) -> Tensor:
        beyond = ~ranges_inside(counts, self.longest)
        return logits.masked_fill(beyond[:, :, None], -torch.inf).amax(dim=1)

    def ranges(self, outputs: EvidenceOutputs) -> list[list[Range]]:
        assert outputs.counts is not None
        inside = ranges_inside(outputs.counts, self.longest)
        scores = (torch.sigmoid(outputs.logits.float()) * inside[:, :, None]).cpu()
        return [_of_tables(table.transpose(1, 2)) for table in torch.split(scores, outputs.counts.tolist())]


class Tagger(TokenAgent):
    """Outside, begin or inside of each token; the likeliest row of labels in which no inside follows an
    outside. With a chain, what follows what is learned."""

    def __init__(
        self, head: str, size: int, criteria: int, dropout: float, pairs: int, chained: bool
    ) -> None:
        super().__init__(criteria, pairs)
        self.head = build_head(head, size, 3 * self.width, dropout)
        self.chain = LinearChain(self.width, learned=chained)

    def score(self, vectors: Tensor) -> Tensor:
        return self._by_criterion(self.head(vectors), 3)

    def sureness(self, logits: Tensor, counts: Tensor) -> Tensor:
        return torch.logsumexp(logits[:, [BEGIN, INSIDE]], dim=1) - logits[:, OUTSIDE]

    def ranges(self, outputs: EvidenceOutputs) -> list[list[Range]]:
        """A range's score is the mean probability of its tokens not being outside."""
        assert outputs.counts is not None
        emissions, there = padded(outputs)
        labels = self.chain.likeliest(emissions, there).cpu()  # [posts, tokens, criteria]
        inside = 1 - self.chain.marginals(emissions, there)[..., OUTSIDE].float().cpu()
        counts = outputs.counts.tolist()
        return [_of_labels(labels[post, :count], inside[post, :count]) for post, count in enumerate(counts)]


def build_evidence_agent(
    kind: str, head: str, size: int, criteria: int, dropout: float, *, pairs: int, longest: int
) -> EvidenceAgent:
    """kind: sentence, span, biaffine, tagger or crf_tagger. pairs: the criteria, where post x criterion pairs
    are read, else 1. longest: tokens of a range that span and biaffine find."""
    match kind:
        case "span":
            return SpanScorer(head, size, criteria, dropout, pairs, longest)
        case "biaffine":
            return BiaffineScorer(head, size, criteria, dropout, pairs, longest)
        case "tagger" | "crf_tagger":
            return Tagger(head, size, criteria, dropout, pairs, kind == "crf_tagger")
    return SentenceScorer(head, size, criteria, dropout, pairs)


def padded(outputs: EvidenceOutputs) -> tuple[Tensor, Tensor]:
    """Tagger's logits as [posts, tokens, criteria, 3], and which tokens there are, [posts, tokens] bool."""
    assert outputs.counts is not None
    counts = outputs.counts
    place = torch.arange(max(1, int(counts.max())), device=counts.device)
    there = place < counts[:, None]
    logits = outputs.logits.transpose(1, 2)
    whole = logits.new_zeros((*there.shape, *logits.shape[1:]))
    whole[there] = logits
    return whole, there


def ranges_inside(counts: Tensor, longest: int) -> Tensor:
    """Whether a range that begins at a token and is so long ends within its post; [tokens, longest] bool."""
    ends = counts.cumsum(0).repeat_interleave(counts)  # [tokens]: where the post of each ends
    token = torch.arange(len(ends), device=counts.device)
    return token[:, None] + torch.arange(longest, device=counts.device) < ends[:, None]


def best_ranges(table: Tensor) -> list[tuple[int, int, float]]:
    """Ranges (first, last, score) by score, each the best that overlaps none before it, down to LEAST_SCORE;
    of equals the one that begins first, then the shorter. table: [first, length - 1] scores, changed here."""
    longest, found = table.shape[1], []
    length = torch.arange(longest)
    best, more = table.max(dim=1)
    while len(best):
        first = int(best.argmax())
        score, last = float(best[first]), first + int(more[first])
        if score < LEAST_SCORE:
            break
        found.append((first, last, score))
        near = slice(max(0, first - longest + 1), last + 1)  # all others end before it or begin after it
        begins = torch.arange(near.start, near.stop)
        table[near][begins[:, None] + length >= first] = 0.0
        best[near], more[near] = table[near].max(dim=1)
    return found


def _of_tables(tables: Tensor) -> list[Range]:
    """Ranges from the scores of one post, [tokens, criteria, longest]."""
    found: list[Range] = []
    for criterion in range(tables.shape[1]):
        table = tables[:, criterion].clone()
        found += [(criterion, *each) for each in sorted(best_ranges(table))]
    return found


def _of_labels(labels: Tensor, inside: Tensor) -> list[Range]:
    """Ranges from the labels of one post and how probably not outside they are, [tokens, criteria] each."""
    found: list[Range] = []
    for criterion in range(labels.shape[1]):
        row = [*labels[:, criterion].tolist(), OUTSIDE]
        first = None
        for token, label in enumerate(row):
            if first is not None and label != INSIDE:
                score = float(inside[first:token, criterion].mean())
                found.append((criterion, first, token - 1, score))
                first = None
            if label == BEGIN:
                first = token
    return found


def _from_each_on(values: Tensor, longest: int) -> Tensor:
    """[tokens, ...] to [tokens, ..., longest]: of each token and those behind it, 0 beyond the last."""
    beyond = values.new_zeros((longest, *values.shape[1:]))
    return torch.cat([values, beyond]).unfold(0, longest, 1)[: len(values)]


def _with_one(vectors: Tensor) -> Tensor:
    return torch.cat([vectors, vectors.new_ones((*vectors.shape[:-1], 1))], dim=-1)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
