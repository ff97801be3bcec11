"""Evidence agents: from the encoder's token vectors to the evidence for each criterion.

- `sentence` scores each candidate sentence.
- `span` scores each token as the start and as the end of a range.
- `biaffine` scores each range of tokens (Dozat and Manning, 2017; Yu et al., 2020).
- `tagger` labels each token as outside, begin or inside (Ramshaw and Marcus, 1995); `crf_tagger` adds a
  linear chain over the labels (Lafferty et al., 2001).

Each may find nothing. The module needs only torch, because an export copies it.
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
from .ranges import Range, ranges_inside, ranges_of_labels, ranges_of_tables

PRIOR = 0.01
"""Initial probability of a start, an end or a range, so that the many negatives do not dominate the first
steps (Lin et al., 2017)."""
BIAFFINE_SIZE = 64
"""Width of the vectors in which starts and ends are compared."""


@dataclass(frozen=True)
class EvidenceItems:
    """Sentences or tokens that the coupling may take as a post's evidence."""

    vectors: Tensor
    """[items, hidden]"""
    logits: Tensor
    """[items, criteria]: logits of being evidence; [items, 1] for pairs"""
    group: Tensor
    """[items] int64: the post of each, or the group of its pair (see Batch)"""


@dataclass(frozen=True)
class EvidenceOutputs:
    """An evidence agent's result for a batch."""

    logits: Tensor
    """float32: [sentences, criteria] of a sentence scorer; else the tokens of all posts in order without
    padding, as [tokens, 2, criteria] (start, end), [tokens, longest, criteria] (range by length - 1) or
    [tokens, 3, criteria] (outside, begin, inside)"""
    items: EvidenceItems
    counts: Tensor | None = None
    """[posts] int64: tokens of each post; None if sentences are scored"""


class EvidenceAgent(nn.Module, ABC):
    """Base class of the evidence agents.

    Args:
        criteria: Number of criteria.
        pairs: Number of times that each post is read: the criteria if post x criterion pairs are read, else
        1.
    """

    def __init__(self, criteria: int, pairs: int) -> None:
        super().__init__()
        self.pairs = pairs
        self.width = criteria if pairs == 1 else 1
        """Number of criteria that one vector is scored for."""

    @abstractmethod
    def forward(self, hidden: Tensor, batch: Batch) -> EvidenceOutputs:
        """Return the logits of a batch.

        Args:
            hidden: The encoder's last layer, `[windows, seq, hidden]` float32.
            batch: The batch that the encoder has read.
        """

    def _groups(self, post: Tensor) -> Tensor:
        """Turn the posts of items `[items]` into their groups `[items * pairs]`."""
        criterion = torch.arange(self.pairs, device=post.device)
        return (post[:, None] * self.pairs + criterion).reshape(-1)


class SentenceScorer(EvidenceAgent):
    """Applies a head to the mean of each candidate sentence's tokens.

    Args:
        head: Kind of head, see build_head.
        size: Width of the encoder's vectors.
        criteria: Number of criteria.
        dropout: Probability of dropping an element while training.
        pairs: See EvidenceAgent.
    """

    def __init__(self, head: str, size: int, criteria: int, dropout: float, pairs: int) -> None:
        super().__init__(criteria, pairs)
        self.head = build_head(head, size, self.width, dropout)

    def forward(self, hidden: Tensor, batch: Batch) -> EvidenceOutputs:
        """Return the logits of the candidate sentences; those without tokens are not items.

        Args:
            hidden: The encoder's last layer, `[windows, seq, hidden]` float32.
            batch: The batch that the encoder has read.
        """
        vectors = pool_sentences(hidden, batch, batch.n_sentences * self.pairs)
        logits = self.head(vectors)
        # A sentence whose windows were left out has not been read.
        tokens = batch.token_sentence[batch.owned & (batch.token_sentence >= 0)]
        read = torch.zeros(len(vectors), dtype=torch.bool, device=tokens.device).index_fill(0, tokens, True)
        items = EvidenceItems(vectors[read], logits[read], self._groups(batch.sentence_post)[read])
        return EvidenceOutputs(logits.reshape(batch.n_sentences, self.pairs * self.width), items)


class TokenAgent(EvidenceAgent):
    """Base class of agents that score tokens, or ranges by their first token."""

    def forward(self, hidden: Tensor, batch: Batch) -> EvidenceOutputs:
        """Return the logits of the tokens of each post.

        Args:
            hidden: The encoder's last layer, `[windows, seq, hidden]` float32.
            batch: The batch that the encoder has read.
        """
        vectors, post = self._tokens(hidden, batch)
        counts = torch.bincount(post, minlength=batch.n_posts)
        logits = self.score(vectors)
        of_evidence = self._evidence_logits(logits, counts)
        if self.pairs == 1:
            items = EvidenceItems(vectors, of_evidence, post)
        else:
            items = EvidenceItems(vectors.flatten(0, 1), of_evidence.reshape(-1, 1), self._groups(post))
        return EvidenceOutputs(logits, items, counts)

    def score(self, vectors: Tensor) -> Tensor:
        """Return the logits of tokens.

        Args:
            vectors: `[tokens, hidden]` float32, or `[tokens, pairs, hidden]` if pairs are read.

        Returns:
            `[tokens, ..., criteria]` float32, see EvidenceOutputs.
        """
        return self._score(vectors)

    def ranges(self, outputs: EvidenceOutputs) -> list[list[Range]]:
        """Return the ranges of each post that may be evidence; those of one criterion do not overlap.

        Applying a threshold to their scores gives the same ranges as a search with that threshold.

        Args:
            outputs: Result of this agent's forward pass.
        """
        assert outputs.counts is not None
        return self._ranges(outputs, outputs.counts)

    @abstractmethod
    def _score(self, vectors: Tensor) -> Tensor: ...

    @abstractmethod
    def _ranges(self, outputs: EvidenceOutputs, counts: Tensor) -> list[list[Range]]: ...

    @abstractmethod
    def _evidence_logits(self, logits: Tensor, counts: Tensor) -> Tensor:
        """Return each token's logits of being evidence, `[tokens, criteria]`; counts: tokens of each post."""

    def _tokens(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the owned tokens of each post in order, and the post of each."""
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
        """Reshape `[tokens, parts * criteria]` or `[tokens, pairs, parts]` to one column per criterion."""
        if self.pairs == 1:
            return logits.reshape(len(logits), parts, self.width)
        return logits.transpose(1, 2)


class SpanScorer(TokenAgent):
    """Scores each token as the start and as the end of a range.

    A range's score is the product of both probabilities.

    Args:
        head: Kind of head, see build_head.
        size: Width of the encoder's vectors.
        criteria: Number of criteria.
        dropout: Probability of dropping an element while training.
        pairs: See EvidenceAgent.
        longest: Most tokens of a range.
    """

    def __init__(self, head: str, size: int, criteria: int, dropout: float, pairs: int, longest: int) -> None:
        super().__init__(criteria, pairs)
        self.longest = longest
        self.head = build_head(head, size, 2 * self.width, dropout)
        self.prior_bias = nn.Parameter(torch.full((2,), _logit(PRIOR)))

    def _score(self, vectors: Tensor) -> Tensor:
        return self._by_criterion(self.head(vectors), 2) + self.prior_bias[:, None]

    def _evidence_logits(self, logits: Tensor, counts: Tensor) -> Tensor:
        return logits.amax(dim=1)

    def _ranges(self, outputs: EvidenceOutputs, counts: Tensor) -> list[list[Range]]:
        found = []
        for logits in torch.split(outputs.logits.float().cpu(), counts.tolist()):
            start, end = torch.sigmoid(logits).unbind(dim=1)  # [tokens, criteria]
            found.append(ranges_of_tables(start[:, :, None] * _from_each_on(end, self.longest)))
        return found


class BiaffineScorer(TokenAgent):
    """Scores each range from the vectors of its first and of its last token.

    The score is biaffine in both vectors (Dozat and Manning, 2017).

    Args:
        head: Kind of head, see build_head.
        size: Width of the encoder's vectors.
        criteria: Number of criteria.
        dropout: Probability of dropping an element while training.
        pairs: See EvidenceAgent.
        longest: Most tokens of a range.
    """

    def __init__(self, head: str, size: int, criteria: int, dropout: float, pairs: int, longest: int) -> None:
        super().__init__(criteria, pairs)
        self.longest = longest
        self.start = build_head(head, size, BIAFFINE_SIZE, dropout)
        self.end = build_head(head, size, BIAFFINE_SIZE, dropout)
        # One more row and column: the terms of a start alone and of an end alone, and the prior.
        self.weight = nn.Parameter(torch.empty(self.width, BIAFFINE_SIZE + 1, BIAFFINE_SIZE + 1))
        nn.init.normal_(self.weight, std=1 / BIAFFINE_SIZE)
        with torch.no_grad():
            self.weight[:, -1, -1] = _logit(PRIOR)

    def _score(self, vectors: Tensor) -> Tensor:
        first, last = _with_one(self.start(vectors)), _with_one(self.end(vectors))
        # [tokens, (pairs,) size, longest]: the vectors of each token and of those after it
        ends = _from_each_on(last, self.longest)
        if self.pairs == 1:
            weighed = torch.einsum("ni,cij->ncj", first, self.weight)
            return torch.einsum("ncj,njw->nwc", weighed, ends)
        weighed = torch.einsum("nci,ij->ncj", first, self.weight[0])
        return torch.einsum("ncj,ncjw->nwc", weighed, ends)

    def _evidence_logits(self, logits: Tensor, counts: Tensor) -> Tensor:
        beyond = ~ranges_inside(counts, self.longest)
        return logits.masked_fill(beyond[:, :, None], -torch.inf).amax(dim=1)

    def _ranges(self, outputs: EvidenceOutputs, counts: Tensor) -> list[list[Range]]:
        inside = ranges_inside(counts, self.longest)
        scores = (torch.sigmoid(outputs.logits.float()) * inside[:, :, None]).cpu()
        return [ranges_of_tables(table.transpose(1, 2)) for table in torch.split(scores, counts.tolist())]


class Tagger(TokenAgent):
    """Labels each token as outside, begin or inside; no inside follows an outside.

    A range's score is the mean probability that its tokens are not outside.

    Args:
        head: Kind of head, see build_head.
        size: Width of the encoder's vectors.
        criteria: Number of criteria.
        dropout: Probability of dropping an element while training.
        pairs: See EvidenceAgent.
        chained: Whether transitions between labels are learned.
    """

    def __init__(
        self, head: str, size: int, criteria: int, dropout: float, pairs: int, chained: bool
    ) -> None:
        super().__init__(criteria, pairs)
        self.head = build_head(head, size, 3 * self.width, dropout)
        self.chain = LinearChain(self.width, learned=chained)

    def _score(self, vectors: Tensor) -> Tensor:
        return self._by_criterion(self.head(vectors), 3)

    def _evidence_logits(self, logits: Tensor, counts: Tensor) -> Tensor:
        return torch.logsumexp(logits[:, [BEGIN, INSIDE]], dim=1) - logits[:, OUTSIDE]

    def _ranges(self, outputs: EvidenceOutputs, counts: Tensor) -> list[list[Range]]:
        emissions, there = padded(outputs)
        labels = self.chain.likeliest(emissions, there).cpu()  # [posts, tokens, criteria]
        inside = 1 - self.chain.marginals(emissions, there)[..., OUTSIDE].float().cpu()
        return [
            ranges_of_labels(labels[post, :count], inside[post, :count])
            for post, count in enumerate(counts.tolist())
        ]


def build_evidence_agent(
    kind: str, head: str, size: int, criteria: int, dropout: float, *, pairs: int, longest: int
) -> EvidenceAgent:
    """Return a new evidence agent.

    Args:
        kind: `sentence`, `span`, `biaffine`, `tagger` or `crf_tagger`.
        head: Kind of head, see build_head.
        size: Width of the encoder's vectors.
        criteria: Number of criteria.
        dropout: Probability of dropping an element while training.
        pairs: Number of criteria if post x criterion pairs are read, else 1.
        longest: Most tokens of a range that `span` and `biaffine` find.
    """
    match kind:
        case "span":
            return SpanScorer(head, size, criteria, dropout, pairs, longest)
        case "biaffine":
            return BiaffineScorer(head, size, criteria, dropout, pairs, longest)
        case "tagger" | "crf_tagger":
            return Tagger(head, size, criteria, dropout, pairs, kind == "crf_tagger")
    return SentenceScorer(head, size, criteria, dropout, pairs)


def padded(outputs: EvidenceOutputs) -> tuple[Tensor, Tensor]:
    """Return a tagger's logits with one row per post.

    Args:
        outputs: Result of a tagger's forward pass.

    Returns:
        The logits, `[posts, tokens, criteria, 3]` float32, padded on the right with 0; and a mask
        `[posts, tokens]` bool, true for a post's own tokens.
    """
    assert outputs.counts is not None
    counts = outputs.counts
    place = torch.arange(max(1, int(counts.max())), device=counts.device)
    there = place < counts[:, None]
    logits = outputs.logits.transpose(1, 2)
    whole = logits.new_zeros((*there.shape, *logits.shape[1:]))
    whole[there] = logits
    return whole, there


def _from_each_on(values: Tensor, longest: int) -> Tensor:
    """Give each token the values from itself on, `[tokens, ..., longest]`; 0 past the end."""
    beyond = values.new_zeros((longest, *values.shape[1:]))
    return torch.cat([values, beyond]).unfold(0, longest, 1)[: len(values)]


def _with_one(vectors: Tensor) -> Tensor:
    return torch.cat([vectors, vectors.new_ones((*vectors.shape[:-1], 1))], dim=-1)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
