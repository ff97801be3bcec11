"""The rule that cuts a post into candidate sentences, from its text alone."""

from __future__ import annotations

import re

_BOUNDARY = re.compile(
    r"""
    (?<=[.!?…।])["'”’)\]]*\s+    # an end mark, closing quotes, then space
    | (?<=[。！？])["”’」』）]*\s*  # end marks that need no space after them
    | (?<!\s)\s*\n\s*            # or a line break
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|approx|al|fig|figs|eq|no|dr|mr|mrs|ms|prof|st|sr|jr))\.$", re.IGNORECASE
)
_INITIAL = re.compile(r"\b[A-Z]\.$")
_LONGEST_ABBREVIATION = 12
"""Characters before a boundary that are searched for an abbreviation."""


def split_sentences(text: str) -> tuple[tuple[int, int], ...]:
    """Return the candidate sentences of a text.

    A full stop before a lower-case letter ends no sentence, unless most full stops of the text are followed
    by one: then its writer begins sentences in lower case.

    Args:
        text: Any text; without an end mark it is one sentence.

    Returns:
        (start, end) characters, end exclusive: ordered, disjoint, never blank, together covering every
        character that is not white space.
    """
    boundaries = list(_BOUNDARY.finditer(text))
    stops = [match for match in boundaries if text[match.start() - 1 : match.start()] == "."]
    small = 2 * sum(_following(text, match).islower() for match in stops) > len(stops)
    spans: list[tuple[int, int]] = []
    start = 0
    for match in boundaries:
        if "\n" not in match.group() and not _ends_here(text, match, small):
            continue
        _append(spans, text, start, match.start() + len(match.group().rstrip()))
        start = match.end()
    _append(spans, text, start, len(text))
    return tuple(spans)


def _ends_here(text: str, match: re.Match[str], small: bool) -> bool:
    before = text[max(0, match.start() - _LONGEST_ABBREVIATION) : match.start()]
    if _ABBREVIATION.search(before) or _INITIAL.search(before):
        return False
    quoted = bool(match.group().strip())
    return small or not (_following(text, match).islower() and (quoted or before.endswith(".")))


def _following(text: str, match: re.Match[str]) -> str:
    return text[match.end() : match.end() + 1]


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    trimmed = piece.strip()
    if trimmed:
        first = start + len(piece) - len(piece.lstrip())
        spans.append((first, first + len(trimmed)))
