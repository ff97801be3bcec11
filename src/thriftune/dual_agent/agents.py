"""Both agents on one encoder: pooling, coupling, heads, thresholds.

The module needs only torch, because an export copies it.
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
    """The result of both agents for a batch; None for an agent that is left out."""

    criteria_logits: Tensor | None
    """[posts, criteria] float32"""
    evidence: EvidenceOutputs | None

    def zero(self) -> Tensor:
        """Return a scalar 0 on the device of the outputs.

        Raises:
            ValueError: If both agents are left out.
        """
        if self.criteria_logits is not None:
            return self.criteria_logits.new_zeros(())
        if self.evidence is None:
            raise ValueError("both agents are left out")
        return self.evidence.logits.new_zeros(())


@dataclass(frozen=True)
class Shape:
    """The architecture of both agents, in the names of the configuration."""

    pooling: str
    criteria_head: str | None
    """None: no criteria agent."""
    evidence_head: str | None
    """None: no evidence agent."""
    evidence_kind: str
    coupling: str
    pairs: bool
    """Whether a post is read once per criterion, together with that criterion's description."""
    longest: int
    """Most tokens of a range that the evidence agent finds."""


class Agents(nn.Module):
    """Criteria agent and evidence agent on one shared encoder.

    The tuned thresholds are buffers, so that they are saved and hashed with the weights.

    Args:
        encoder: A model of transformers.
        shape: The architecture.
        criteria: Number of criteria.
        dropout: Probability of dropping an element in the heads while training.
    """

    criteria_thresholds: Tensor
    evidence_thresholds: Tensor

    def __init__(self, encoder: Any, shape: Shape, criteria: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.shape = shape
        size = int(encoder.config.hidden_size)
        self.pairs = criteria if shape.pairs else 1
        """Number of groups (see Batch) that are read for one post."""
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
        """Return the logits of posts and of their sentences or tokens.

        Args:
            batch: Tokenised posts on the device of the weights.
        """
        return self.score(self.encode(batch), batch)

    def encode(self, batch: Batch) -> tuple[Tensor, ...]:
        """Run the encoder.

        Args:
            batch: Tokenised posts on the device of the weights.

        Returns:
            The last one or two layers, as many as the pooling reads; `[windows, seq, hidden]` float32 each,
            the last one at the end.
        """
        earlier = self.criteria_head is not None and self.pooling.layers > 1
        more: dict[str, Tensor | bool] = {"output_hidden_states": True} if earlier else {}
        if self.shape.pairs and getattr(self.encoder.config, "type_vocab_size", 0) > 1:
            more["token_type_ids"] = batch.segments
        found = self.encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **more)
        # A model's last_hidden_state may be normalised once more than the last item of hidden_states.
        below = (found.hidden_states[-2],) if earlier else ()
        return tuple(layer.float() for layer in (*below, found.last_hidden_state))

    def score(self, layers: tuple[Tensor, ...], batch: Batch) -> Outputs:
        """Return the logits of both agents; a post or sentence without tokens counts as a zero vector.

        Args:
            layers: The encoder's last layers, `[windows, seq, hidden]` float32 each, the last one at the end.
            batch: The batch that the encoder has read.
        """
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
