"""Posts of a batch as tensors: all their windows stacked, sentences numbered through.

Where the model reads post x criterion pairs, each post has its windows once a criterion, and what it reads
for one of them is a group of its own: groups of posts and sentences are in order of both, the criterion last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

Tail = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids of what follows the tokens of a window, and the segment of each, 0 or 1."""


@dataclass(frozen=True)
class Batch:
    """A batch of posts; windows, sentences and posts are its three axes."""

    input_ids: Tensor
    """[windows, seq] int64"""
    attention_mask: Tensor
    """[windows, seq] int64"""
    segments: Tensor
    """[windows, seq] int64: 0, and 1 in a second segment"""
    window_group: Tensor
    """[windows] int64: the post of each window; of pairs post * criteria + criterion"""
    owned: Tensor
    """[windows, seq] bool: tokens that this window counts for"""
    token_sentence: Tensor
    """[windows, seq] int64: sentence of the batch, -1 for none; of pairs sentence * criteria + criterion"""
    sentence_post: Tensor
    """[sentences] int64"""
    criteria_targets: Tensor
    """[posts, criteria] float32, 0 or 1"""
    sentence_targets: Tensor
    """[sentences, criteria] float32, 0 or 1"""
    sentence_weights: Tensor
    """[sentences, criteria] float32: 0 where the target is unknown or the text was left out"""
    evidence_known: Tensor
    """[posts, criteria] float32: 0 where the place of evidence is unknown"""
    evidence_tokens: Tensor
    """[ranges, 4] int64: post, criterion, first and last token of its post; what was left out is missing"""

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
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        onto_gpu = device.type == "cuda"
        if onto_gpu:  # pinned, so that the copy waits for nothing that the device has to do yet
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return replace(
            self, **{name: each.to(device, non_blocking=onto_gpu) for name, each in tensors.items()}
        )


@dataclass(frozen=True)
class Collator:
    """Makes batches of tokenised posts (rows of corpus.tokens)."""

    criteria: int
    """How many there are."""
    pad_token_id: int
    tails: Sequence[Tail] = ()
    """What each criterion puts behind a window, where post x criterion pairs are read."""

    def __call__(self, rows: Sequence[Mapping[str, Any]], max_windows: int | None = None) -> Batch:
        """Stack posts, padded to the longest window.

        With max_windows, later windows of a post are left out, and the sentences that have no token
        left get weight 0.
        """
        windows: list[list[int]] = []
        segments: list[list[int]] = []
        owned: list[list[bool]] = []
        sentence: list[list[int]] = []
        group: list[int] = []
        sentence_post: list[int] = []
        weights: list[list[float]] = []
        tails = self.tails or (((), ()),)
        for number, row in enumerate(rows):
            first = len(sentence_post)
            kept = slice(None, max_windows)
            present = {
                item
                for items, owns in zip(row["sentence"][kept], row["owned"][kept], strict=True)
                for item, own in zip(items, owns, strict=True)
                if own
            }
            for at, (behind, types) in enumerate(tails):
                for ids, owns, of in zip(
                    row["input_ids"][kept], row["owned"][kept], row["sentence"][kept], strict=True
                ):
                    windows.append([*ids, *behind])
                    segments.append([*[0] * len(ids), *types])
                    owned.append([*owns, *[False] * len(behind)])
                    places = [-1 if i < 0 else (first + i) * len(tails) + at for i in of]
                    sentence.append([*places, *[-1] * len(behind)])
                    group.append(number * len(tails) + at)
            sentence_post += [number] * len(row["sentences"])
            weights += [
                [float(known) if index in present else 0.0 for known in row["evidence_known"]]
                for index in range(len(row["sentences"]))
            ]
        length = max(len(window) for window in windows)
        return Batch(
            input_ids=_padded(windows, length, self.pad_token_id),
            attention_mask=_padded([[1] * len(window) for window in windows], length, 0),
            segments=_padded(segments, length, 0),
            window_group=torch.tensor(group),
            owned=_padded(owned, length, False).bool(),
            token_sentence=_padded(sentence, length, -1),
            sentence_post=torch.tensor(sentence_post, dtype=torch.int64),
            criteria_targets=torch.tensor([row["criteria"] for row in rows], dtype=torch.float32),
            sentence_targets=torch.tensor(
                [marks for row in rows for marks in row["sentence_targets"]], dtype=torch.float32
            ).reshape(-1, self.criteria),
            sentence_weights=torch.tensor(weights, dtype=torch.float32).reshape(-1, self.criteria),
            evidence_known=torch.tensor([row["evidence_known"] for row in rows], dtype=torch.float32),
            evidence_tokens=torch.tensor(
                [
                    [number, criterion, first, min(last, left - 1)]
                    for number, row in enumerate(rows)
                    for left in [sum(map(sum, row["owned"][:max_windows]))]
                    for criterion, first, last in row["evidence_tokens"]
                    if first < left
                ],
                dtype=torch.int64,
            ).reshape(-1, 4),
        )


def _padded(rows: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows], dtype=torch.int64)
