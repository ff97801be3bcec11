"""The one rule that cuts a post into candidate sentences, from its text alone (SPEC 5.3)."""

from __future__ import annotations

import re

_BOUNDARY = re.compile(
    r"""
    (?<=[.!?…])["'”’)\]]*\s+   # an end mark, closing quotes, then space
    | \s*\n+\s*                 # or a line break
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|approx|al|fig|figs|eq|no|dr|mr|mrs|ms|prof|st|sr|jr)|\b[A-Z])\.$",
    re.IGNORECASE,
)
_SINGLE_LOWER = re.compile(r"\b[a-z]\.$")


def split_sentences(text: str) -> tuple[tuple[int, int], ...]:
    """Candidate sentences as (start, end) characters: ordered, disjoint, never blank, together
    covering every character that is no white space. A text without an end mark is one sentence."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        if "\n" not in match.group() and not _ends_here(text, start, match):
            continue
        _append(spans, text, start, match.start() + len(match.group().rstrip()))
        start = match.end()
    _append(spans, text, start, len(text))
    return tuple(spans)


def _ends_here(text: str, start: int, match: re.Match[str]) -> bool:
    before = text[start : match.start()]
    if _ABBREVIATION.search(before) and not _SINGLE_LOWER.search(before):
        return False
    following = text[match.end() : match.end() + 1]
    quoted = bool(match.group().strip())
    return not (following.islower() and (quoted or before.endswith(".")))


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    trimmed = piece.strip()
    if trimmed:
        first = start + len(piece) - len(piece.lstrip())
        spans.append((first, first + len(trimmed)))
