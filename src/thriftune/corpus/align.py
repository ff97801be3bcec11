"""Finds annotated sentences in their post: exact, then folded, then fuzzy (SPEC 4.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from thriftune.corpus.types import Found

_QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-"})


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a sentence stands in its post and how it was found."""

    start: int | None
    end: int | None
    found: Found
    similarity: float


NOT_FOUND = Alignment(None, None, "none", 0.0)
NO_SENTENCE = Alignment(None, None, "label", 0.0)


class Aligner:
    """Aligns the annotated sentences of one post.

    A place is given once per criterion: the same sentence annotated twice for one criterion takes
    successive places where the post repeats it, and the last place again where it does not.
    """

    def __init__(self, text: str, candidates: Sequence[tuple[int, int]], threshold: float) -> None:
        self._text = text
        self._folded, self._origin = fold(text)
        self._candidates = candidates
        self._folded_candidates = [fold(text[start:end])[0] for start, end in candidates]
        self._threshold = threshold
        self._taken: set[tuple[str, int, int]] = set()

    def align(self, sentence: str, criterion: str) -> Alignment:
        """The sentence's character range in the post; similarity is rapidfuzz's, 0 to 100."""
        wanted = sentence.strip()
        found = (
            self._exact(wanted, criterion)
            or self._by_folding(wanted, criterion)
            or self._fuzzy(wanted)
            or NOT_FOUND
        )
        if found.start is not None and found.end is not None:
            self._taken.add((criterion, found.start, found.end))
        return found

    def _exact(self, wanted: str, criterion: str) -> Alignment | None:
        spans = _occurrences(self._text, wanted)
        return self._first_free(spans, criterion, "exact")

    def _by_folding(self, wanted: str, criterion: str) -> Alignment | None:
        folded = fold(wanted)[0]
        spans = [
            (self._origin[start], self._origin[end - 1] + 1)
            for start, end in _occurrences(self._folded, folded)
        ]
        return self._first_free(spans, criterion, "folded")

    def _first_free(self, spans: list[tuple[int, int]], criterion: str, found: Found) -> Alignment | None:
        if not spans:
            return None
        free = [span for span in spans if (criterion, *span) not in self._taken]
        start, end = (free or spans[-1:])[0]
        return Alignment(start, end, found, 100.0)

    def _fuzzy(self, wanted: str) -> Alignment | None:
        best = process.extractOne(
            fold(wanted)[0],
            self._folded_candidates,
            scorer=fuzz.token_sort_ratio,
            score_cutoff=self._threshold,
        )
        if best is None:
            return None
        start, end = self._candidates[best[2]]
        return Alignment(start, end, "fuzzy", float(best[1]))


def fold(text: str) -> tuple[str, list[int]]:
    """Text with case, quotes, dashes and runs of white space folded, and the index in the original
    of every character that is left. No character of the result stands for two of the original."""
    characters: list[str] = []
    origin: list[int] = []
    for index, character in enumerate(text.translate(_QUOTES)):
        if character.isspace():
            if characters and characters[-1] != " ":
                characters.append(" ")
                origin.append(index)
            continue
        lowered = character.lower()
        characters.append(lowered if len(lowered) == 1 else character)
        origin.append(index)
    while characters and characters[-1] == " ":
        characters.pop()
        origin.pop()
    return "".join(characters), origin


def _occurrences(text: str, wanted: str) -> list[tuple[int, int]]:
    if not wanted:
        return []
    return [match.span() for match in re.finditer(re.escape(wanted), text)]
