"""From what the evidence agent says to places in the text, whichever kind it is (ADR 14). torch alone: an
exported model brings this module along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .agents import Agents
from .evidence import EvidenceOutputs, TokenAgent
from .windows import marked_sentences

Place = tuple[int, int, int, float]
"""Criterion, first character and the one after the last, score between 0 and 1."""


@dataclass(frozen=True)
class Found:
    """What the evidence agent finds in a batch of posts."""

    scores: Tensor
    """[sentences, criteria] float32, on the CPU: of the best place that marks each candidate sentence, else
    0"""
    places: list[list[Place]] | None
    """Of each post; None where the sentences themselves are the evidence."""


def find_places(agents: Agents, evidence: EvidenceOutputs, rows: Sequence[Mapping[str, Any]]) -> Found:
    """The evidence in the posts of a batch. rows: those that the batch is made of."""
    agent = agents.evidence_agent
    if not isinstance(agent, TokenAgent):
        return Found(_of_what_was_read(torch.sigmoid(evidence.logits.float()).cpu(), rows), None)
    scores = torch.zeros(sum(len(row["sentences"]) for row in rows), len(agents.evidence_thresholds))
    places: list[list[Place]] = []
    at = 0
    for row, ranges in zip(rows, agent.ranges(evidence), strict=True):
        tokens, sentences = row["tokens"], row["sentences"]
        places.append([(c, tokens[first][0], tokens[last][1], score) for c, first, last, score in ranges])
        for criterion, start, end, score in places[-1]:
            for sentence in marked_sentences((start, end), sentences):
                scores[at + sentence, criterion] = max(float(scores[at + sentence, criterion]), score)
        at += len(sentences)
    if not torch.isfinite(evidence.logits).all():
        scores.fill_(torch.nan)  # a weight that is no number must not pass for no evidence
    return Found(scores, places)


def _of_what_was_read(scores: Tensor, rows: Sequence[Mapping[str, Any]]) -> Tensor:
    """0 for sentences of which the tokenizer makes no token (zero-width characters): nothing was read."""
    at = 0
    for row in rows:
        read = set().union(*row["sentence"])
        for sentence in range(len(row["sentences"])):
            if sentence not in read:
                scores[at + sentence] = 0.0
        at += len(row["sentences"])
    return scores
