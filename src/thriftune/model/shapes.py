"""Names and sizes of an encoder's parameters, without importing transformers.

transformers takes seconds to import, and a forecast needs only names and sizes.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from thriftune.config import EncoderFromConfig

SEGMENTS = 2
"""Number of segments (token types) that BERT distinguishes."""


class BertShape(nn.Module):
    """Parameters with the names and shapes of transformers' BertModel; it computes nothing.

    Args:
        source: The encoder's configuration.
        vocabulary: Number of tokens of its tokenizer.
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
    # Drawing values on the meta device, as nn.Embedding does, would import torch's compiler.
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
    parts: dict[str, nn.Module] = {"dense": nn.Linear(inner, size), "LayerNorm": nn.LayerNorm(size)}
    return nn.ModuleDict(parts)
