"""Windows over the tokens of a post, and the sentence of each token.

A post longer than the window becomes overlapping windows. Each of its tokens is owned by exactly one window:
the one in which it is farthest from an edge. So sums over owned tokens merge the windows of a post exactly,
and no token counts twice. The module needs only the standard library, because an export copies it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypedDict


@dataclass(frozen=True)
class Layout:
    """How posts become windows."""

    max_length: int
    """Most tokens of a window, including special tokens and a second segment."""
    overlap: int
    """Tokens that neighbouring windows share."""
    descriptions: tuple[str, ...] = ()
    """One description per criterion, to follow each window as its second segment; () for none."""
    token_ranges: bool = False
    """Whether to keep the characters of each token, for an evidence agent that marks tokens."""


class PostWindows(TypedDict):
    """The windows of one post; the first three lists are `[windows][tokens]`."""

    input_ids: list[list[int]]
    owned: list[list[bool]]
    """Whether the window owns the token; false for special tokens."""
    sentence: list[list[int]]
    """Index of the token's candidate sentence; -1 for none."""
    tokens: list[list[int]]
    """[start, end] characters of each token of the post; empty unless the layout has token_ranges."""


Tail = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids after the tokens of a window (special tokens, a second segment), and the segment of each, 0 or 1, as
the tokenizer numbers them."""


def window_tails(tokenizer: Any, layout: Layout) -> list[Tail]:
    """Return what follows a window for each criterion.

    Args:
        tokenizer: A fast tokenizer of transformers.
        layout: How posts become windows.

    Returns:
        One tail per description; empty without descriptions, as the windows then include their tail.
    """
    tails = []
    for description in layout.descriptions:
        pair = tokenizer("a", description, return_token_type_ids=True, verbose=False)
        segments = pair.sequence_ids(0)
        at = len(segments) - segments[::-1].index(0)
        ids, types = pair["input_ids"][at:], pair["token_type_ids"][at:]
        if None not in segments:  # a tokenizer that adds no special tokens between the segments
            ids, types = [tokenizer.sep_token_id, *ids, tokenizer.sep_token_id], [0, *types, 1]
        tails.append((tuple(ids), tuple(types)))
    return tails


def window_room(tokenizer: Any, layout: Layout) -> int:
    """Return how many tokens of a post fit in a window beside special tokens and the longest description.

    Args:
        tokenizer: A fast tokenizer of transformers.
        layout: How posts become windows.
    """
    before, after = _specials(tokenizer)
    tail = max((len(ids) for ids, _ in window_tails(tokenizer, layout)), default=len(after))
    return layout.max_length - len(before) - tail


def window_cutter(tokenizer: Any, layout: Layout) -> Callable[[str, Sequence[tuple[int, int]]], PostWindows]:
    """Return a function that cuts a text with its candidate sentences into windows.

    Args:
        tokenizer: A fast tokenizer of transformers.
        layout: How posts become windows.

    Returns:
        A function of a text and the (start, end) characters of its candidate sentences.
    """
    before, after = _specials(tokenizer)
    if layout.descriptions:
        after = []  # the tail of each criterion follows instead
    room = window_room(tokenizer, layout)

    def cut(text: str, sentences: Sequence[tuple[int, int]]) -> PostWindows:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        sentence_of = _sentence_of_tokens(offsets, sentences)
        spans = window_spans(len(ids), room, layout.overlap)
        owned = owned_ranges(len(ids), spans)
        tokens = [_bare(text, *offset) for offset in offsets] if layout.token_ranges else []
        row: PostWindows = {"input_ids": [], "owned": [], "sentence": [], "tokens": tokens}
        for (start, end), (first, last) in zip(spans, owned, strict=True):
            row["input_ids"].append([*before, *ids[start:end], *after])
            mine = [False] * (first - start) + [True] * (last - first) + [False] * (end - last)
            row["owned"].append([*[False] * len(before), *mine, *[False] * len(after)])
            row["sentence"].append([*[-1] * len(before), *sentence_of[start:end], *[-1] * len(after)])
        return row

    return cut


def _bare(text: str, start: int, end: int) -> list[int]:
    """Return a token's characters without white space: some tokenizers include the space before a word."""
    piece = text[start:end]
    first = end - len(piece.lstrip())
    return [first, first + len(piece.strip())]


def _specials(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a sequence."""
    probe = (
        tokenizer.build_inputs_with_special_tokens([-1])
        if hasattr(tokenizer, "build_inputs_with_special_tokens")
        else [id_ for id_ in (tokenizer.cls_token_id, -1, tokenizer.sep_token_id) if id_ is not None]
    )
    at = probe.index(-1)
    return probe[:at], probe[at + 1 :]


def window_spans(tokens: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """Return the windows of a post as half-open ranges of tokens; one empty window for a post without tokens.

    Args:
        tokens: Number of tokens of the post.
        room: Most tokens of the post in a window; more than overlap.
        overlap: Tokens that neighbouring windows share.
    """
    spans = [(0, min(tokens, room))]
    while spans[-1][1] < tokens:
        start = spans[-1][1] - overlap
        spans.append((start, min(tokens, start + room)))
    return spans


def owned_ranges(tokens: int, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the half-open range of tokens that each window owns.

    Of the tokens that two windows share, each owns those that are farther from its own edge than from the
    other window's; the earlier window wins ties. The post's first and last token are not edges.

    Args:
        tokens: Number of tokens of the post.
        spans: Its windows, see window_spans.
    """
    borders = [(end + start + 1) // 2 for (_, end), (start, _) in pairwise(spans)]
    return list(pairwise([0, *borders, tokens]))


def _sentence_of_tokens(
    offsets: Sequence[tuple[int, int]], sentences: Sequence[tuple[int, int]]
) -> list[int]:
    """Return the index of the sentence that holds the middle of each token, or -1; both are ordered."""
    twice_middle = [start + end for start, end in offsets]
    result = [-1] * len(offsets)
    last = 0
    for index, (start, end) in enumerate(sentences):
        first = bisect_left(twice_middle, 2 * start, last)
        last = bisect_left(twice_middle, 2 * end, first)
        result[first:last] = [index] * (last - first)
    for index, (start, end) in enumerate(offsets):
        if start >= end:  # a token without characters
            result[index] = -1
    return result


def tokens_inside(offsets: Sequence[Sequence[int]], span: tuple[int, int]) -> tuple[int, int] | None:
    """Return (first, last) of the tokens whose middle is within a span; None if there is none.

    Args:
        offsets: (start, end) characters of each token, ordered.
        span: (start, end) characters, end exclusive.
    """
    inside = [
        index
        for index, (start, end) in enumerate(offsets)
        if end > start and span[0] <= (start + end) / 2 < span[1]
    ]
    return (inside[0], inside[-1]) if inside else None


def marked_sentences(span: tuple[int, int], sentences: Sequence[Sequence[int]]) -> list[int]:
    """Return the candidate sentences that a span of characters marks.

    Args:
        span: (start, end) characters, end exclusive.
        sentences: (start, end) characters of the candidates, ordered and disjoint.

    Returns:
        Indices of the sentences of which the span covers more than half; else of the one that it overlaps
        most (the first of equals); else none.
    """
    first = bisect_right(sentences, span[0], key=lambda sentence: sentence[1])
    overlaps: dict[int, int] = {}
    for index in range(first, len(sentences)):
        start, end = sentences[index]
        if start >= span[1]:
            break
        overlap = min(span[1], end) - max(span[0], start)
        if overlap > 0:
            overlaps[index] = overlap
    covered = [
        index for index, own in overlaps.items() if own * 2 > sentences[index][1] - sentences[index][0]
    ]
    if covered or not overlaps:
        return covered
    return [max(overlaps, key=overlaps.__getitem__)]
