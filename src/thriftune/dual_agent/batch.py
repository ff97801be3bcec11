"""Batches: posts as tensors, with the windows of all posts stacked and their sentences numbered in order.

If the model reads post x criterion pairs, each post has its windows once per criterion, and each pair is a
group of its own. Groups of posts and of sentences are ordered by post or sentence first, then by criterion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from .windows import PostWindows, Tail


class TokenisedPost(PostWindows):
    """A tokenised post with its targets; all 0 and empty when predicting."""

    sentences: Sequence[Sequence[int]]
    """(start, end) characters of each candidate sentence, end exclusive."""
    criteria: Sequence[int]
    """[criteria], 1 for those that the post meets, else 0."""
    evidence_known: Sequence[int]
    """[criteria], 0 for those whose evidence could not be aligned, else 1."""
    sentence_targets: Sequence[Sequence[int]]
    """[sentences][criteria], 1 for sentences marked by evidence, else 0."""
    evidence_tokens: Sequence[Sequence[int]]
    """(criterion, first token, last token) of each annotated range."""


@dataclass(frozen=True)
class Batch:
    """A batch of posts; its axes are windows, sentences and posts. Padding is on the right."""

    input_ids: Tensor
    """[windows, seq] int64; the tokenizer's padding token for padding"""
    attention_mask: Tensor
    """[windows, seq] int64; 1 for tokens, 0 for padding"""
    segments: Tensor
    """[windows, seq] int64; 1 in a second segment, else 0"""
    window_group: Tensor
    """[windows] int64; the post of each window, or post * criteria + criterion for pairs"""
    owned: Tensor
    """[windows, seq] bool; whether this window counts for the token; false for special tokens and padding"""
    token_sentence: Tensor
    """[windows, seq] int64; the sentence (for pairs sentence * criteria + criterion), -1 for none"""
    sentence_post: Tensor
    """[sentences] int64; the post of each sentence"""
    criteria_targets: Tensor
    """[posts, criteria] float32, 0 or 1"""
    sentence_targets: Tensor
    """[sentences, criteria] float32, 0 or 1"""
    sentence_weights: Tensor
    """[sentences, criteria] float32; 0 if the target is unknown or the windows were left out, else 1"""
    evidence_known: Tensor
    """[posts, criteria] float32; 0 if the place of the evidence is unknown, else 1"""
    evidence_tokens: Tensor
    """[ranges, 4] int64; post, criterion, first and last token within the post; without ranges left out"""

    @property
    def n_posts(self) -> int:
        """Number of posts."""
        return len(self.criteria_targets)

    @property
    def n_sentences(self) -> int:
        """Number of candidate sentences."""
        return len(self.sentence_post)

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on another device.

        Args:
            device: Where to; copies to a CUDA device are asynchronous.
        """
        if device == self.input_ids.device:
            return self
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        onto_gpu = device.type == "cuda"
        if onto_gpu:  # from pinned memory, the copy does not wait for the device's queue
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return replace(
            self, **{name: each.to(device, non_blocking=onto_gpu) for name, each in tensors.items()}
        )


@dataclass
class _Windows:
    """The windows of a batch before padding; the lists of a window have the same length."""

    ids: list[list[int]] = field(default_factory=list)
    segments: list[list[int]] = field(default_factory=list)
    owned: list[list[bool]] = field(default_factory=list)
    sentences: list[list[int]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Collator:
    """Makes batches of tokenised posts."""

    criteria: int
    """Number of criteria."""
    pad_token_id: int
    tails: Sequence[Tail] = ()
    """What follows a window for each criterion, if post x criterion pairs are read; see window_tails."""

    def __call__(self, rows: Sequence[TokenisedPost], max_windows: int | None = None) -> Batch:
        """Stack posts, padded on the right to the longest window.

        Args:
            rows: Tokenised posts, at least one.
            max_windows: Most windows of a post; later ones are left out, and sentences without a remaining
                token get weight 0. None for no limit.

        Returns:
            The batch, on the CPU; the fields of Batch say how each one is padded.
        """
        kept = slice(None, max_windows)
        stacked = self._stack(rows, kept)
        length = max(len(window) for window in stacked.ids)
        sentence_post = [number for number, row in enumerate(rows) for _ in row["sentences"]]
        weights = [weight for row in rows for weight in _sentence_weights(row, kept)]
        return Batch(
            input_ids=_padded(stacked.ids, length, self.pad_token_id),
            attention_mask=_padded([[1] * len(window) for window in stacked.ids], length, 0),
            segments=_padded(stacked.segments, length, 0),
            window_group=torch.tensor(stacked.groups),
            owned=_padded(stacked.owned, length, False).bool(),
            token_sentence=_padded(stacked.sentences, length, -1),
            sentence_post=torch.tensor(sentence_post, dtype=torch.int64),
            criteria_targets=torch.tensor([row["criteria"] for row in rows], dtype=torch.float32),
            sentence_targets=torch.tensor(
                [marks for row in rows for marks in row["sentence_targets"]], dtype=torch.float32
            ).reshape(-1, self.criteria),
            sentence_weights=torch.tensor(weights, dtype=torch.float32).reshape(-1, self.criteria),
            evidence_known=torch.tensor([row["evidence_known"] for row in rows], dtype=torch.float32),
            evidence_tokens=torch.tensor(
                [
                    [number, *tokens]
                    for number, row in enumerate(rows)
                    for tokens in _evidence_tokens(row, kept)
                ],
                dtype=torch.int64,
            ).reshape(-1, 4),
        )

    def _stack(self, rows: Sequence[TokenisedPost], kept: slice) -> _Windows:
        """Put the windows of all posts behind each other, those of a pair with its tail."""
        stacked = _Windows()
        tails = self.tails or (((), ()),)
        first = 0
        for number, row in enumerate(rows):
            windows = [*zip(row["input_ids"][kept], row["owned"][kept], row["sentence"][kept], strict=True)]
            for at, (after, types) in enumerate(tails):
                for ids, owns, of in windows:
                    stacked.ids.append([*ids, *after])
                    stacked.segments.append([*[0] * len(ids), *types])
                    stacked.owned.append([*owns, *[False] * len(after)])
                    places = [-1 if i < 0 else (first + i) * len(tails) + at for i in of]
                    stacked.sentences.append([*places, *[-1] * len(after)])
                    stacked.groups.append(number * len(tails) + at)
            first += len(row["sentences"])
        return stacked


def _sentence_weights(row: TokenisedPost, kept: slice) -> list[list[float]]:
    """Return the weights of a post's sentences, `[sentences][criteria]`; 0 without an owned token left."""
    present = {
        sentence
        for sentences, owned in zip(row["sentence"][kept], row["owned"][kept], strict=True)
        for sentence, own in zip(sentences, owned, strict=True)
        if own
    }
    return [
        [float(known) if index in present else 0.0 for known in row["evidence_known"]]
        for index in range(len(row["sentences"]))
    ]


def _evidence_tokens(row: TokenisedPost, kept: slice) -> Iterator[tuple[int, int, int]]:
    """Yield criterion, first and last token of the annotated ranges, as far as their tokens are kept."""
    left = sum(map(sum, row["owned"][kept]))
    for criterion, first, last in row["evidence_tokens"]:
        if first < left:
            yield criterion, first, min(last, left - 1)


def _padded(rows: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows], dtype=torch.int64)
