"""Windows over the tokens of a post, and which sentence each token is of. Standard library alone: an exported
model brings this module along.

A post longer than the window becomes overlapping windows. Each of its tokens is owned by exactly one window,
the one where it stands farthest from an edge, so that sums over owned tokens merge the windows of a post
exactly and nothing counts twice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Layout:
    """How posts become windows."""

    max_length: int
    """Tokens a window, special ones and a second segment included."""
    overlap: int
    """Tokens that neighbouring windows share."""
    descriptions: tuple[str, ...] = ()
    """Of each criterion, where a window stands before one of them as second segment; () where it stands
    alone."""
    token_ranges: bool = False
    """Whether the characters of each token are kept, for an evidence agent that marks tokens."""


Tail = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids of what follows the tokens of a window (special tokens, a second segment), and the segment of each, 0
or 1, as the tokenizer has it."""


def window_tails(tokenizer: Any, layout: Layout) -> list[Tail]:
    """One a criterion where there are descriptions; none where the windows bring theirs along."""
    tails = []
    for description in layout.descriptions:
        pair = tokenizer("a", description, return_token_type_ids=True, verbose=False)
        segments = pair.sequence_ids(0)
        at = len(segments) - segments[::-1].index(0)
        ids, types = pair["input_ids"][at:], pair["token_type_ids"][at:]
        if None not in segments:  # a tokenizer that puts no special tokens between both
            ids, types = [tokenizer.sep_token_id, *ids, tokenizer.sep_token_id], [0, *types, 1]
        tails.append((tuple(ids), tuple(types)))
    return tails


def window_room(tokenizer: Any, layout: Layout) -> int:
    """Tokens of a post that a window takes beside special ones and the longest second segment."""
    before, after = _specials(tokenizer)
    tail = max((len(ids) for ids, _ in window_tails(tokenizer, layout)), default=len(after))
    return layout.max_length - len(before) - tail


def window_cutter(
    tokenizer: Any, layout: Layout
) -> Callable[[str, Sequence[tuple[int, int]]], dict[str, Any]]:
    """A function of (text, its candidate sentences) that gives input_ids, owned and sentence, each
    `[windows][tokens]`, and tokens: the (start, end) characters of each token of the text, [] where the
    layout asks for none. sentence is the index of the candidate or -1. tokenizer: a fast one of
    transformers."""
    before, after = _specials(tokenizer)
    if layout.descriptions:
        after = []  # each window gets a tail a criterion
    room = window_room(tokenizer, layout)

    def cut(text: str, sentences: Sequence[tuple[int, int]]) -> dict[str, Any]:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        sentence_of = sentence_of_tokens(offsets, sentences)
        spans = window_spans(len(ids), room, layout.overlap)
        owned = owned_ranges(len(ids), spans)
        tokens = [_bare(text, *offset) for offset in offsets] if layout.token_ranges else []
        row: dict[str, Any] = {"input_ids": [], "owned": [], "sentence": [], "tokens": tokens}
        for (start, end), (first, last) in zip(spans, owned, strict=True):
            row["input_ids"].append([*before, *ids[start:end], *after])
            mine = [False] * (first - start) + [True] * (last - first) + [False] * (end - last)
            row["owned"].append([*_none(before, False), *mine, *_none(after, False)])
            row["sentence"].append([*_none(before, -1), *sentence_of[start:end], *_none(after, -1)])
        return row

    return cut


def _bare(text: str, start: int, end: int) -> list[int]:
    """A token's characters without white space around them: some tokenizers count what stands before a word
    to it, or make a token of its own of it, which has none."""
    piece = text[start:end]
    first = end - len(piece.lstrip())
    return [first, first + len(piece.strip())]


def _specials(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a sequence, from the tokenizer itself."""
    probe = (
        tokenizer.build_inputs_with_special_tokens([-1])
        if hasattr(tokenizer, "build_inputs_with_special_tokens")
        else [id_ for id_ in (tokenizer.cls_token_id, -1, tokenizer.sep_token_id) if id_ is not None]
    )
    at = probe.index(-1)
    return probe[:at], probe[at + 1 :]


def _none(specials: Sequence[int], value: Any) -> list[Any]:
    return [value] * len(specials)


def window_spans(tokens: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """Half-open token ranges of the windows of a post; one empty window for a post without
    tokens."""
    spans = [(0, min(tokens, room))]
    while spans[-1][1] < tokens:
        start = spans[-1][1] - overlap
        spans.append((start, min(tokens, start + room)))
    return spans


def owned_ranges(tokens: int, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The half-open range of tokens that each window owns: of the tokens of neighbours, those that are
    farther from its edge than from the other's, ties to the earlier. The post's own first and last token
    count as no edge."""
    borders = [(end + start + 1) // 2 for (_, end), (start, _) in pairwise(spans)]
    return list(pairwise([0, *borders, tokens]))


def sentence_of_tokens(offsets: Sequence[tuple[int, int]], sentences: Sequence[tuple[int, int]]) -> list[int]:
    """The candidate sentence in which the middle of each token (start, end) stands, or -1; both ordered."""
    twice_middle = [start + end for start, end in offsets]
    result = [-1] * len(offsets)
    last = 0
    for index, (start, end) in enumerate(sentences):
        first = bisect_left(twice_middle, 2 * start, last)
        last = bisect_left(twice_middle, 2 * end, first)
        result[first:last] = [index] * (last - first)
    for index, (start, end) in enumerate(offsets):
        if start >= end:  # a token of no characters
            result[index] = -1
    return result


def tokens_inside(offsets: Sequence[Sequence[int]], span: tuple[int, int]) -> tuple[int, int] | None:
    """(first, last) of the tokens whose middle stands in a character range; None where none does."""
    inside = [
        index
        for index, (start, end) in enumerate(offsets)
        if end > start and span[0] <= (start + end) / 2 < span[1]
    ]
    return (inside[0], inside[-1]) if inside else None


def marked_sentences(span: tuple[int, int], sentences: Sequence[tuple[int, int]]) -> list[int]:
    """The candidates, ordered and disjoint, that a range of characters marks: those it covers by more than
    half, else the one it overlaps most (the first of equals), else none."""
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
