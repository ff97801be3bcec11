"""The shape of an encoder that is built from its configuration, without importing transformers.

transformers and what its models import take seconds, and a forecast asks for names and sizes alone.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from thriftune.config import EncoderFromConfig

SEGMENTS = 2
"""Kinds of tokens that BERT tells apart."""


class BertShape(nn.Module):
    """Parameters with the names and shapes of transformers' BertModel; it computes nothing.

    Args:
        source: The encoder's configuration.
        vocabulary: How many tokens its tokenizer has.
    """

    def __init__(self, source: EncoderFromConfig, vocabulary: int) -> None:
        super().__init__()
        size = source.hidden_size
        self.config = SimpleNamespace(hidden_size=size)
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": _table(vocabulary, size),
                "position_embeddings": _table(source.window, size),
                "token_type_embeddings": _table(SEGMENTS, size),
                "LayerNorm": nn.LayerNorm(size),
            }
        )
        layers = [_layer(size, source.intermediate_size) for _ in range(source.layers)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})


def _table(rows: int, size: int) -> nn.Embedding:
    # Drawing values on the device meta, as nn.Embedding does, would import torch's compiler.
    return nn.Embedding(rows, size, _weight=torch.empty(rows, size))


def _layer(size: int, inner: int) -> nn.ModuleDict:
    attention = {name: nn.Linear(size, size) for name in ("query", "key", "value")}
    return nn.ModuleDict(
        {
            "attention": nn.ModuleDict({"self": nn.ModuleDict(attention), "output": _output(size, size)}),
            "intermediate": nn.ModuleDict({"dense": nn.Linear(size, inner)}),
            "output": _output(inner, size),
        }
    )


def _output(inner: int, size: int) -> nn.ModuleDict:
    parts: dict[str, Any] = {"dense": nn.Linear(inner, size), "LayerNorm": nn.LayerNorm(size)}
    return nn.ModuleDict(parts)
