"""Ranges of tokens: from scores or labels of a post's tokens to ranges that do not overlap."""

from __future__ import annotations

import torch
from torch import Tensor

from .chain import BEGIN, INSIDE, OUTSIDE

LEAST_SCORE = 0.02
"""Ranges with a lower probability are ignored."""

Range = tuple[int, int, int, float]
"""Criterion, first and last token of the post, score between 0 and 1."""


def ranges_inside(counts: Tensor, longest: int) -> Tensor:
    """Return whether a range that starts at a token ends within its post.

    Args:
        counts: `[posts]` int64, tokens of each post.
        longest: Most tokens of a range.

    Returns:
        `[tokens, longest]` bool; column j is for a range of j + 1 tokens.
    """
    ends = counts.cumsum(0).repeat_interleave(counts)  # [tokens]: end of the post of each
    token = torch.arange(len(ends), device=counts.device)
    return token[:, None] + torch.arange(longest, device=counts.device) < ends[:, None]


def best_ranges(table: Tensor) -> list[tuple[int, int, float]]:
    """Return ranges greedily by score, each the best that overlaps no earlier one, down to LEAST_SCORE.

    Of equal scores, the range that begins first comes first, then the shorter one.

    Args:
        table: `[first, length - 1]` float32 scores; it is overwritten.

    Returns:
        (first token, last token, score) of each range.
    """
    longest, found = table.shape[1], []
    length = torch.arange(longest)
    best, more = table.max(dim=1)
    while len(best):
        first = int(best.argmax())
        score, last = float(best[first]), first + int(more[first])
        if score < LEAST_SCORE:
            break
        found.append((first, last, score))
        # All other ranges end before it or start after it.
        near = slice(max(0, first - longest + 1), last + 1)
        begins = torch.arange(near.start, near.stop)
        table[near][begins[:, None] + length >= first] = 0.0
        best[near], more[near] = table[near].max(dim=1)
    return found


def ranges_of_tables(tables: Tensor) -> list[Range]:
    """Return the ranges of one post by its scores, see best_ranges.

    Args:
        tables: `[tokens, criteria, longest]` float32 on the CPU; column j is for a range of j + 1 tokens.
    """
    found: list[Range] = []
    for criterion in range(tables.shape[1]):
        table = tables[:, criterion].clone()
        found += [(criterion, *each) for each in sorted(best_ranges(table))]
    return found


def ranges_of_labels(labels: Tensor, inside: Tensor) -> list[Range]:
    """Return the ranges of one post by its labels; a range's score is the mean of its tokens.

    Args:
        labels: `[tokens, criteria]` int64 on the CPU: OUTSIDE, BEGIN or INSIDE.
        inside: `[tokens, criteria]` float32 on the CPU, probability of a label other than OUTSIDE.
    """
    found: list[Range] = []
    for criterion in range(labels.shape[1]):
        row = [*labels[:, criterion].tolist(), OUTSIDE]
        first = None
        for token, label in enumerate(row):
            if first is not None and label != INSIDE:
                score = float(inside[first:token, criterion].mean())
                found.append((criterion, first, token - 1, score))
                first = None
            if label == BEGIN:
                first = token
    return found
