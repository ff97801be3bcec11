"""Finds annotated sentences in their post: exact, then folded, then fuzzy."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rapidfuzz import fuzz

from thriftune.corpus.types import Found

_WORD = re.compile(r"\w+(?:'\w+)*")
_NO_SPACE = re.compile(r"\S+")
_QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "ı": "i"})


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
    successive places where the post repeats it, and the last place again where it does not. `shared` counts
    the sentences that got the place of another one.
    """

    def __init__(self, text: str, candidates: Sequence[tuple[int, int]], threshold: float) -> None:
        self._text = text
        self._candidates = candidates
        self._threshold = threshold / 100
        self._taken: dict[tuple[str, int, int], str] = {}
        self.shared = 0

    @cached_property
    def _folded(self) -> tuple[str, list[int]]:
        return fold(self._text)

    @cached_property
    def _words(self) -> list[tuple[str, tuple[int, int]]]:
        """Of the whole post, folded, with their places."""
        return [(match.group(), self._unfold(*match.span())) for match in _WORD.finditer(self._folded[0])]

    @cached_property
    def _owned(self) -> list[tuple[int, int]]:
        """The half-open range of words that stand in each candidate sentence, whole."""
        starts, ends = ([place[side] for _, place in self._words] for side in (0, 1))
        return [(bisect_left(starts, start), bisect_right(ends, end)) for start, end in self._candidates]

    def align(self, sentence: str, criterion: str) -> Alignment:
        """The sentence's character range in the post; similarity, 0 to 100, is the share of its words there,
        or how much it is like a whole candidate sentence."""
        wanted = sentence.strip()
        found = (
            self._exact(wanted, criterion)
            or self._by_folding(wanted, criterion)
            or self._fuzzy(wanted, criterion)
            or self._exact(wanted, criterion, inside_words=True)
            or self._by_folding(wanted, criterion, inside_words=True)
            or NOT_FOUND
        )
        if found.start is not None and found.end is not None:
            folded = fold(wanted)[0]
            if self._taken.setdefault((criterion, found.start, found.end), folded) != folded:
                self.shared += 1
        return found

    def _exact(self, wanted: str, criterion: str, *, inside_words: bool = False) -> Alignment | None:
        spans = _occurrences(self._text, wanted, inside_words)
        return self._first_free(spans, criterion, "exact")

    def _by_folding(self, wanted: str, criterion: str, *, inside_words: bool = False) -> Alignment | None:
        found = _occurrences(self._folded[0], fold(wanted)[0], inside_words)
        spans = [self._unfold(*span) for span in found]
        return self._first_free(spans, criterion, "folded")

    def _unfold(self, start: int, end: int) -> tuple[int, int]:
        origin = self._folded[1]
        return origin[start], origin[end - 1] + 1

    def _first_free(self, spans: list[tuple[int, int]], criterion: str, found: Found) -> Alignment | None:
        if not spans:
            return None
        free = [span for span in spans if (criterion, *span) not in self._taken]
        start, end = (free or spans[-1:])[0]
        return Alignment(start, end, found, 100.0)

    def _fuzzy(self, wanted: str, criterion: str) -> Alignment | None:
        """The stretch of words that has most of the sentence's, where nothing is yet; else anywhere."""
        words = _WORD.findall(fold(wanted)[0])
        if not words:
            return None
        taken = [span[1:] for span in self._taken if span[0] == criterion]
        best = self._stretch(words, taken) or (self._stretch(words, ()) if taken else None)
        if best is None:
            return None
        share, start, end = best
        return Alignment(start, end, "fuzzy", round(100 * share, 2))

    def _stretch(
        self, words: Sequence[str], taken: Sequence[tuple[int, int]]
    ) -> tuple[float, int, int] | None:
        """(similarity, start, end) outside `taken`: as many words of the post as the sentence has, in its
        order; else the candidate sentence that is most alike."""
        post = [
            "" if any(start < b and end > a for a, b in taken) else word for word, (start, end) in self._words
        ]
        found = fuzz.partial_ratio_alignment(words, post, score_cutoff=100 * self._threshold)
        best: tuple[float, int, int] | None = None
        if found is not None:
            length = found.dest_end - found.dest_start
            # Of a stretch at the post's edge, shorter than the sentence, the ratio says more than the share.
            share = found.score / 100 * (len(words) + length) / 2 / len(words)
            if length and share >= self._threshold:
                first, last = self._words[found.dest_start][1], self._words[found.dest_end - 1][1]
                best = min(share, 1.0), *self._whole(first[0], last[1])
        return best or self._sentence(words, post)

    def _whole(self, start: int, end: int) -> tuple[int, int]:
        """A stretch, grown or shrunk to the candidate sentences that it covers by more than half and that
        cover more than half of it."""
        inside = [(a, b) for a, b in self._candidates if 2 * (min(b, end) - max(a, start)) > b - a]
        if not inside:
            return start, end
        first, last = inside[0][0], inside[-1][1]
        overlap = min(last, end) - max(first, start)
        return (first, last) if 2 * overlap > end - start else (start, end)

    def _sentence(self, words: Sequence[str], post: Sequence[str]) -> tuple[float, int, int] | None:
        """The candidate sentence that is most alike, however its words are ordered, and whatever was put in
        other words of another number: by words (Dice, 1945), else by letters (rapidfuzz)."""
        owned = [[word for word in post[first:last] if word] for first, last in self._owned]
        wanted = Counter(words)
        by_words = [
            2 * (wanted & Counter(own)).total() / (len(words) + len(own)) if own else 0.0 for own in owned
        ]
        whole = " ".join(words)
        by_letters = [fuzz.token_sort_ratio(whole, " ".join(own)) / 100 if own else 0.0 for own in owned]
        for alike in (by_words, by_letters):
            best = max(range(len(alike)), key=alike.__getitem__, default=None)
            if best is not None and alike[best] >= self._threshold:
                return alike[best], *self._candidates[best]
        return None


def fold(text: str) -> tuple[str, list[int]]:
    """Text with case, accents, ligatures, quotes, dashes and runs of white space folded, and the index in the
    original of every character that is left. No character of the result stands for two of the original."""
    characters: list[str] = []
    origin: list[int] = []
    gap = 0
    for match in _NO_SPACE.finditer(text.translate(_QUOTES)):
        piece, first, end = match.group(), *match.span()
        if characters and first > gap and characters[-1] != " ":
            characters.append(" ")
            origin.append(gap)
        if piece.isascii():
            characters += piece.lower()
            origin += range(first, end)
        else:
            for index, character in enumerate(piece, first):
                plain = _plain(character)
                characters += plain
                origin += [index] * len(plain)
        gap = end
    while characters and characters[-1] == " ":
        characters.pop()
        origin.pop()
    return "".join(characters), origin


def _plain(character: str) -> str:
    """Its letters without marks; nothing of a mark alone, a soft hyphen or a space without width."""
    parts = unicodedata.normalize("NFKD", character).casefold()
    return "".join(part for part in parts if unicodedata.category(part) not in ("Mn", "Cf"))


def _occurrences(text: str, wanted: str, inside_words: bool) -> list[tuple[int, int]]:
    if not wanted:
        return []
    every = []
    at = text.find(wanted)
    while at >= 0:
        every.append((at, at + len(wanted)))
        at = text.find(wanted, at + len(wanted))
    return [span for span in every if inside_words or not any(_cuts_a_word(text, at) for at in span)]


def _cuts_a_word(text: str, at: int) -> bool:
    """Of a script that puts spaces between words: letters of others (Chinese, Thai) have no case."""
    around = text[at - 1 : at + 1] if at else ""
    return len(around) == 2 and all(
        character.isalnum() and unicodedata.category(character) != "Lo" for character in around
    )
