"""Evidence spans: from any evidence agent's result to characters of the text (ADR 14).

The module needs only torch, because an export copies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .agents import Agents
from .batch import TokenisedPost
from .evidence import EvidenceOutputs, TokenAgent
from .windows import marked_sentences

EvidenceSpan = tuple[int, int, int, float]
"""Criterion, start and end in characters (end exclusive), score between 0 and 1."""


@dataclass(frozen=True)
class SpanPredictions:
    """The evidence found in a batch of posts."""

    scores: Tensor
    """[sentences, criteria] float32 on the CPU: the best score of a span that marks the candidate sentence,
    else 0"""
    spans: list[list[EvidenceSpan]] | None
    """The spans of each post; None if the sentences themselves are the evidence."""


def find_spans(agents: Agents, evidence: EvidenceOutputs, rows: Sequence[TokenisedPost]) -> SpanPredictions:
    """Return the evidence in the posts of a batch.

    Args:
        agents: The agents that read the batch.
        evidence: Their evidence agent's result.
        rows: The tokenised posts that the batch was made of, in its order.
    """
    agent = agents.evidence_agent
    if not isinstance(agent, TokenAgent):
        return SpanPredictions(_zero_unread(torch.sigmoid(evidence.logits.float()).cpu(), rows), None)
    scores = torch.zeros(sum(len(row["sentences"]) for row in rows), len(agents.evidence_thresholds))
    spans: list[list[EvidenceSpan]] = []
    at = 0
    for row, ranges in zip(rows, agent.ranges(evidence), strict=True):
        tokens, sentences = row["tokens"], row["sentences"]
        spans.append([(c, tokens[first][0], tokens[last][1], score) for c, first, last, score in ranges])
        for criterion, start, end, score in spans[-1]:
            for sentence in marked_sentences((start, end), sentences):
                scores[at + sentence, criterion] = max(float(scores[at + sentence, criterion]), score)
        at += len(sentences)
    if not torch.isfinite(evidence.logits).all():
        scores.fill_(torch.nan)  # or NaN in the weights would look like "no evidence"
    return SpanPredictions(scores, spans)


def _zero_unread(scores: Tensor, rows: Sequence[TokenisedPost]) -> Tensor:
    """Set to 0 the sentences without a token (zero-width characters): the model has not read them."""
    at = 0
    for row in rows:
        read = set().union(*row["sentence"])
        for sentence in range(len(row["sentences"])):
            if sentence not in read:
                scores[at + sentence] = 0.0
        at += len(row["sentences"])
    return scores
