"""Windows over the tokens of a post, and which sentence each token is of. Standard library alone: an exported
model brings this module along.

A post longer than the window becomes overlapping windows. Each of its tokens is owned by exactly one window,
the one where it stands farthest from an edge, so that sums over owned tokens merge the windows of a post
exactly and nothing counts twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def window_room(tokenizer: Any, max_length: int) -> int:
    """Tokens of a post that a window takes beside the tokenizer's special ones."""
    before, after = _specials(tokenizer)
    return max_length - len(before) - len(after)


def window_cutter(
    tokenizer: Any, max_length: int, overlap: int
) -> Callable[[str, Sequence[tuple[int, int]]], dict[str, Any]]:
    """A function of (text, its candidate sentences) that gives input_ids, owned and sentence, each
    [windows][tokens]; sentence is the index of the candidate or -1. tokenizer: a fast one of transformers."""
    before, after = _specials(tokenizer)
    room = window_room(tokenizer, max_length)

    def cut(text: str, sentences: Sequence[tuple[int, int]]) -> dict[str, Any]:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids, sentence_of = encoded["input_ids"], sentence_of_tokens(encoded["offset_mapping"], sentences)
        spans = window_spans(len(ids), room, overlap)
        owners = token_owners(len(ids), spans)
        row: dict[str, Any] = {"input_ids": [], "owned": [], "sentence": []}
        for number, (start, end) in enumerate(spans):
            row["input_ids"].append([*before, *ids[start:end], *after])
            owned = [owners[index] == number for index in range(start, end)]
            row["owned"].append([*_none(before, False), *owned, *_none(after, False)])
            row["sentence"].append([*_none(before, -1), *sentence_of[start:end], *_none(after, -1)])
        return row

    return cut


def _specials(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a sequence, from the tokenizer itself."""
    probe = (
        tokenizer.build_inputs_with_special_tokens([-1])
        if hasattr(tokenizer, "build_inputs_with_special_tokens")
        else [tokenizer.cls_token_id, -1, tokenizer.sep_token_id]
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


def token_owners(tokens: int, spans: Sequence[tuple[int, int]]) -> list[int]:
    """The window that owns each token: the one where it is farthest from an edge, ties to the
    earlier. The post's own first and last token count as no edge."""
    owners = [0] * tokens
    depth = [-1] * tokens
    for number, (start, end) in enumerate(spans):
        for index in range(start, end):
            left = tokens if start == 0 else index - start
            right = tokens if end == tokens else end - 1 - index
            if min(left, right) > depth[index]:
                owners[index], depth[index] = number, min(left, right)
    return owners


def sentence_of_tokens(offsets: Sequence[tuple[int, int]], sentences: Sequence[tuple[int, int]]) -> list[int]:
    """The candidate sentence in which the middle of each token (start, end) stands, or -1; both ordered."""
    result, current = [], 0
    for start, end in offsets:
        middle = (start + end) / 2
        while current < len(sentences) and sentences[current][1] <= middle:
            current += 1
        inside = current < len(sentences) and sentences[current][0] <= middle
        result.append(current if inside and end > start else -1)
    return result
