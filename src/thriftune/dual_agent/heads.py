"""What turns a pooled vector into one logit a criterion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SAMPLES = 5
"""Dropout masks of multi_sample, as in its paper."""


def build_head(kind: str, size: int, outputs: int, dropout: float) -> nn.Module:
    """A head for vectors [..., size] that gives logits [..., outputs].

    linear; mlp (one hidden layer, GELU); residual (a pre-norm residual MLP block before the linear layer, as
    a transformer's feed-forward block); gated (GEGLU: Shazeer, 2020); multi_sample (a linear layer over
    several dropout masks: Inoue, 2019).
    """
    match kind:
        case "mlp":
            block = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.Dropout(dropout))
        case "residual":
            block = nn.Sequential(_ResidualBlock(size, dropout), nn.LayerNorm(size))
        case "gated":
            block = nn.Sequential(_Gated(size), nn.Dropout(dropout))
        case "multi_sample":
            return _MultiSample(size, outputs, dropout)
        case _:
            block = nn.Sequential()
    return nn.Sequential(nn.Dropout(dropout), *block, nn.Linear(size, outputs))


class _ResidualBlock(nn.Module):
    """x + W2 GELU(W1 LayerNorm(x)); [..., size] to [..., size]."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.GELU(), nn.Dropout(dropout), nn.Linear(size, size)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        inner: Tensor = self.inner(vectors)
        return vectors + inner


class _Gated(nn.Module):
    """GELU(x W) * x V; [..., size] to [..., size]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.both = nn.Linear(size, 2 * size)

    def forward(self, vectors: Tensor) -> Tensor:
        gate, value = self.both(vectors).chunk(2, dim=-1)
        gated: Tensor = nn.functional.gelu(gate) * value
        return gated


class _MultiSample(nn.Module):
    """The mean of one linear layer's logits under several dropout masks; without dropout that layer alone."""

    def __init__(self, size: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(size, outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        if not self.training or self.dropout.p == 0:
            logits: Tensor = self.linear(vectors)
            return logits
        return torch.stack([self.linear(self.dropout(vectors)) for _ in range(SAMPLES)]).mean(dim=0)
