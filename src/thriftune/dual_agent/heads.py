"""Heads: from a pooled vector to one logit per criterion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SAMPLES = 5
"""Number of dropout masks of multi_sample, as in its paper (Inoue, 2019)."""


def build_head(kind: str, size: int, outputs: int, dropout: float) -> nn.Module:
    """Build a module from vectors `[..., size]` to logits `[..., outputs]`, float32.

    Args:
        kind: `linear`; `mlp` (one hidden layer, GELU: Hendrycks and Gimpel, 2016); `residual` (a pre-norm
            residual MLP block before the linear layer, as in a transformer's feed-forward block: Xiong et
            al., 2020); `gated` (GEGLU: Shazeer, 2020); `multi_sample` (a linear layer averaged over several
            dropout masks: Inoue, 2019).
        size: Width of the vectors.
        outputs: Number of logits.
        dropout: Probability of dropping an element while training.

    Returns:
        The head, with freshly drawn weights.
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
    """Compute x + W2 GELU(W1 LayerNorm(x)); `[..., size]` to `[..., size]`."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.GELU(), nn.Dropout(dropout), nn.Linear(size, size)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        inner: Tensor = self.inner(vectors)
        return vectors + inner


class _Gated(nn.Module):
    """Compute GELU(x W) * x V (Shazeer, 2020); `[..., size]` to `[..., size]`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.both = nn.Linear(size, 2 * size)

    def forward(self, vectors: Tensor) -> Tensor:
        gate, value = self.both(vectors).chunk(2, dim=-1)
        gated: Tensor = nn.functional.gelu(gate) * value
        return gated


class _MultiSample(nn.Module):
    """Average one linear layer's logits over several dropout masks; without dropout, apply it once."""

    def __init__(self, size: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(size, outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        if not self.training or self.dropout.p == 0:
            logits: Tensor = self.linear(vectors)
            return logits
        return torch.stack([self.linear(self.dropout(vectors)) for _ in range(SAMPLES)]).mean(dim=0)
