"""Posts of a batch as tensors: all their windows stacked, sentences numbered through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A batch of posts; windows, sentences and posts are its three axes."""

    input_ids: Tensor
    """[windows, seq] int64"""
    attention_mask: Tensor
    """[windows, seq] int64"""
    window_post: Tensor
    """[windows] int64: the post of each window"""
    owned: Tensor
    """[windows, seq] bool: tokens that this window counts for"""
    token_sentence: Tensor
    """[windows, seq] int64: sentence of the batch, -1 for none"""
    sentence_post: Tensor
    """[sentences] int64"""
    criteria_targets: Tensor
    """[posts, criteria] float32, 0 or 1"""
    sentence_targets: Tensor
    """[sentences, criteria] float32, 0 or 1"""
    sentence_weights: Tensor
    """[sentences, criteria] float32: 0 where the target is unknown or the text was left out"""

    @property
    def n_posts(self) -> int:
        return len(self.criteria_targets)

    @property
    def n_sentences(self) -> int:
        return len(self.sentence_post)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        if device == self.input_ids.device:
            return self
        moved = {item.name: getattr(self, item.name).to(device) for item in fields(self)}
        return replace(self, **moved)


def collate(
    rows: Sequence[Mapping[str, Any]],
    criteria_count: int,
    pad_token_id: int,
    max_windows: int | None = None,
) -> Batch:
    """Stack tokenised posts (rows of corpus.tokens), padded to the longest window.

    With max_windows, later windows of a post are left out, and the sentences that have no token
    left get weight 0.
    """
    windows: list[list[int]] = []
    owned: list[list[bool]] = []
    sentence: list[list[int]] = []
    window_post: list[int] = []
    sentence_post: list[int] = []
    weights: list[list[float]] = []
    for number, row in enumerate(rows):
        first = len(sentence_post)
        kept = slice(None, max_windows)
        windows += row["input_ids"][kept]
        owned += row["owned"][kept]
        numbers = [[-1 if i < 0 else first + i for i in items] for items in row["sentence"][kept]]
        sentence += numbers
        window_post += [number] * len(numbers)
        present = {item for items in numbers for item in items}
        sentence_post += [number] * len(row["sentences"])
        weights += [
            [float(known) if first + index in present else 0.0 for known in row["evidence_known"]]
            for index in range(len(row["sentences"]))
        ]
    length = max(len(window) for window in windows)
    return Batch(
        input_ids=_padded(windows, length, pad_token_id),
        attention_mask=_padded([[1] * len(window) for window in windows], length, 0),
        window_post=torch.tensor(window_post),
        owned=_padded(owned, length, False).bool(),
        token_sentence=_padded(sentence, length, -1),
        sentence_post=torch.tensor(sentence_post, dtype=torch.int64),
        criteria_targets=torch.tensor([row["criteria"] for row in rows], dtype=torch.float32),
        sentence_targets=torch.tensor(
            [marks for row in rows for marks in row["sentence_targets"]], dtype=torch.float32
        ).reshape(-1, criteria_count),
        sentence_weights=torch.tensor(weights, dtype=torch.float32).reshape(-1, criteria_count),
    )


def _padded(rows: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows], dtype=torch.int64)
