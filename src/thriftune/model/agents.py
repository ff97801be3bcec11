"""Both agents on an encoder, whichever it is: pooling, coupling, heads, thresholds.

torch alone: an exported model brings this module along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thriftune.model.batch import Batch
from thriftune.model.coupling import EvidenceCoupling
from thriftune.model.heads import build_head
from thriftune.model.pooling import PostPooling, pool_sentences

INITIAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Outputs:
    """Logits of both agents; None where an agent is left out."""

    criteria_logits: Tensor | None
    """[posts, criteria]"""
    sentence_logits: Tensor | None
    """[sentences, criteria]"""

    def zero(self) -> Tensor:
        """A scalar 0 on the outputs' device."""
        logits = self.criteria_logits if self.criteria_logits is not None else self.sentence_logits
        if logits is None:
            raise ValueError("both agents are left out")
        return logits.new_zeros(())


@dataclass(frozen=True)
class Shape:
    """What both agents are made of; the names are those of the configuration."""

    pooling: str
    criteria_head: str | None
    """None: without the criteria agent."""
    evidence_head: str | None
    """None: without the evidence agent."""
    coupling: str


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
        self.criteria_head: nn.Module | None = None
        self.evidence_head: nn.Module | None = None
        self.coupling: EvidenceCoupling | None = None
        if shape.coupling != "independent":
            self.coupling = EvidenceCoupling(shape.coupling, size)
        if shape.criteria_head is not None:
            self.pooling = PostPooling(shape.pooling, size)
            joined = size if self.coupling is None else self.coupling.size
            self.criteria_head = build_head(shape.criteria_head, joined, criteria, dropout)
        if shape.evidence_head is not None:
            self.evidence_head = build_head(shape.evidence_head, size, criteria, dropout)
        for name in ("criteria_thresholds", "evidence_thresholds"):
            self.register_buffer(name, torch.full((criteria,), INITIAL_THRESHOLD))

    def forward(self, batch: Batch) -> Outputs:
        """Logits per post and per sentence."""
        return self.score(self.encode(batch), batch)

    def encode(self, batch: Batch) -> tuple[Tensor, ...]:
        """The encoder's last one or two layers, as far as they are read; [windows, seq, hidden] float32
        each."""
        earlier = self.criteria_head is not None and self.pooling.layers > 1
        more = {"output_hidden_states": True} if earlier else {}
        found = self.encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **more)
        # What a model calls its last hidden state may be normalised once more than the last of the list.
        below = (found.hidden_states[-2],) if earlier else ()
        return tuple(layer.float() for layer in (*below, found.last_hidden_state))

    def score(self, layers: tuple[Tensor, ...], batch: Batch) -> Outputs:
        """Logits from the encoder's last layers, [windows, seq, hidden] each, the last at the end. A post or
        sentence without tokens is a zero vector."""
        criteria_logits = sentence_logits = posts = None
        if self.criteria_head is not None:
            posts = self.pooling(layers, batch)
            if self.coupling is None:
                criteria_logits = self.criteria_head(posts)
        if self.evidence_head is not None:
            sentences = pool_sentences(layers[-1], batch)
            sentence_logits = self.evidence_head(sentences)
            if self.criteria_head is not None and self.coupling is not None:
                joined = self.coupling(posts, sentences, sentence_logits, batch)
                criteria_logits = self.criteria_head(joined)
        return Outputs(criteria_logits, sentence_logits)
