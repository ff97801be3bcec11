"""Both agents on an encoder, whichever it is: pooling, coupling, heads, thresholds.

torch alone: an exported model brings this module along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .batch import Batch
from .coupling import EvidenceCoupling, StrongestEvidence
from .evidence import EvidenceAgent, EvidenceOutputs, build_evidence_agent
from .heads import build_head
from .pooling import PostPooling

INITIAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Outputs:
    """What both agents say; None where one is left out."""

    criteria_logits: Tensor | None
    """[posts, criteria]"""
    evidence: EvidenceOutputs | None

    def zero(self) -> Tensor:
        """A scalar 0 on the outputs' device."""
        if self.criteria_logits is not None:
            return self.criteria_logits.new_zeros(())
        if self.evidence is None:
            raise ValueError("both agents are left out")
        return self.evidence.logits.new_zeros(())


@dataclass(frozen=True)
class Shape:
    """What both agents are made of; the names are those of the configuration."""

    pooling: str
    criteria_head: str | None
    """None: without the criteria agent."""
    evidence_head: str | None
    """None: without the evidence agent."""
    evidence_kind: str
    coupling: str
    pairs: bool
    """Whether a post is read once a criterion, together with its description."""
    longest: int
    """Tokens of a range that the evidence agent finds."""


class Agents(nn.Module):
    """Criteria agent and evidence agent on one shared encoder.

    The tuned thresholds are buffers, so they travel with the weights and under their hash.
    """

    criteria_thresholds: Tensor
    evidence_thresholds: Tensor

    def __init__(self, encoder: Any, shape: Shape, criteria: int, dropout: float = 0.0) -> None:
        """encoder: a model of transformers. criteria: how many there are."""
        super().__init__()
        self.encoder = encoder
        self.shape = shape
        size = int(encoder.config.hidden_size)
        self.pairs = criteria if shape.pairs else 1
        """How many groups are read for one post."""
        self.criteria_head: nn.Module | None = None
        self.evidence_agent: EvidenceAgent | None = None
        self.coupling: EvidenceCoupling | StrongestEvidence | None = None
        if shape.coupling == "strongest":
            self.coupling = StrongestEvidence(criteria)
        elif shape.coupling != "independent":
            self.coupling = EvidenceCoupling(shape.coupling, size)
        if shape.criteria_head is not None:
            self.pooling = PostPooling(shape.pooling, size)
            joined = self.coupling.size if isinstance(self.coupling, EvidenceCoupling) else size
            self.criteria_head = build_head(shape.criteria_head, joined, criteria // self.pairs, dropout)
        if shape.evidence_head is not None:
            self.evidence_agent = build_evidence_agent(
                shape.evidence_kind,
                shape.evidence_head,
                size,
                criteria,
                dropout,
                pairs=self.pairs,
                longest=shape.longest,
            )
        for name in ("criteria_thresholds", "evidence_thresholds"):
            self.register_buffer(name, torch.full((criteria,), INITIAL_THRESHOLD))

    def forward(self, batch: Batch) -> Outputs:
        """Logits of posts and of their sentences or tokens."""
        return self.score(self.encode(batch), batch)

    def encode(self, batch: Batch) -> tuple[Tensor, ...]:
        """The encoder's last one or two layers, as far as they are read; [windows, seq, hidden] float32
        each."""
        earlier = self.criteria_head is not None and self.pooling.layers > 1
        more: dict[str, Any] = {"output_hidden_states": True} if earlier else {}
        if self.shape.pairs and getattr(self.encoder.config, "type_vocab_size", 0) > 1:
            more["token_type_ids"] = batch.segments
        found = self.encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **more)
        # What a model calls its last hidden state may be normalised once more than the last of the list.
        below = (found.hidden_states[-2],) if earlier else ()
        return tuple(layer.float() for layer in (*below, found.last_hidden_state))

    def score(self, layers: tuple[Tensor, ...], batch: Batch) -> Outputs:
        """Logits from the encoder's last layers, [windows, seq, hidden] each, the last at the end. A post or
        sentence without tokens is a zero vector."""
        posts = criteria_logits = evidence = None
        if self.criteria_head is not None:
            posts = self.pooling(layers, batch, batch.n_posts * self.pairs)
            if not isinstance(self.coupling, EvidenceCoupling):
                criteria_logits = self.criteria_head(posts)
        if self.evidence_agent is not None:
            evidence = self.evidence_agent(layers[-1], batch)
            if self.criteria_head is not None and isinstance(self.coupling, EvidenceCoupling):
                criteria_logits = self.criteria_head(self.coupling(posts, evidence.items))
        if criteria_logits is not None:
            criteria_logits = criteria_logits.reshape(batch.n_posts, -1)
            if evidence is not None and isinstance(self.coupling, StrongestEvidence):
                criteria_logits = criteria_logits + self.coupling(evidence.items, batch.n_posts)
        return Outputs(criteria_logits, evidence)
