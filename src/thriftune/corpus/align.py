"""Alignment of annotated sentences with their post: exact, then folded, then fuzzy."""

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
    """The place of a sentence in its post, and how it was found."""

    start: int | None
    end: int | None
    found: Found
    similarity: float


NOT_FOUND = Alignment(None, None, "none", 0.0)
NO_SENTENCE = Alignment(None, None, "label", 0.0)


class Aligner:
    """Aligns the annotated sentences of one post.

    A sentence that is annotated twice for a criterion gets successive places if the post repeats it, else the
    same place again. `shared` counts the sentences that got the place of a different one.

    Args:
        text: The post.
        candidates: (start, end) characters of its candidate sentences, ordered and disjoint.
        threshold: Lowest similarity of a fuzzy match, 0 to 100.
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
        """The folded words of the post with their places."""
        return [(match.group(), self._unfold(*match.span())) for match in _WORD.finditer(self._folded[0])]

    @cached_property
    def _owned(self) -> list[tuple[int, int]]:
        """The half-open range of words that are entirely in each candidate sentence."""
        starts, ends = ([place[side] for _, place in self._words] for side in (0, 1))
        return [(bisect_left(starts, start), bisect_right(ends, end)) for start, end in self._candidates]

    def align(self, sentence: str, criterion: str) -> Alignment:
        """Return the place of a sentence in the post, or NOT_FOUND.

        The similarity of a fuzzy match is the share of the sentence's words that are found there in order, or
        the similarity to a whole candidate sentence.

        Args:
            sentence: The annotated sentence, not blank.
            criterion: The criterion that it is evidence for or against.
        """
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
        """Return the most similar part of the post that is not taken yet, else the most similar part."""
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
        """Return (similarity, start, end) of the best match outside `taken`.

        It is a run of as many words as the sentence has, in its order, else the most similar candidate
        sentence.
        """
        post = [
            "" if any(start < b and end > a for a, b in taken) else word for word, (start, end) in self._words
        ]
        found = fuzz.partial_ratio_alignment(words, post, score_cutoff=100 * self._threshold)
        best: tuple[float, int, int] | None = None
        if found is not None:
            length = found.dest_end - found.dest_start
            # At the post's edge the run is shorter than the sentence, and the ratio overstates the share.
            share = found.score / 100 * (len(words) + length) / 2 / len(words)
            if length and share >= self._threshold:
                first, last = self._words[found.dest_start][1], self._words[found.dest_end - 1][1]
                best = min(share, 1.0), *self._whole(first[0], last[1])
        return best or self._sentence(words, post)

    def _whole(self, start: int, end: int) -> tuple[int, int]:
        """Extend or shrink a match to the sentences that it mostly covers, if they mostly cover it."""
        inside = [(a, b) for a, b in self._candidates if 2 * (min(b, end) - max(a, start)) > b - a]
        if not inside:
            return start, end
        first, last = inside[0][0], inside[-1][1]
        overlap = min(last, end) - max(first, start)
        return (first, last) if 2 * overlap > end - start else (start, end)

    def _sentence(self, words: Sequence[str], post: Sequence[str]) -> tuple[float, int, int] | None:
        """Return the most similar candidate sentence in any word order, for paraphrases.

        Similarity is the Dice coefficient of words (Dice, 1945), else rapidfuzz's ratio of sorted words.
        """
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
    """Fold case, accents, ligatures, quotes, dashes and runs of white space.

    Args:
        text: Any text.

    Returns:
        The folded text, and for each of its characters the index in the original. No character of the result
        stands for two of the original.
    """
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
    """Return a character's letters without marks; "" for a lone mark, soft hyphen or zero-width space."""
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
    """Return whether a position is inside a word; scripts without spaces (category Lo) have no words here."""
    around = text[at - 1 : at + 1] if at else ""
    return len(around) == 2 and all(
        character.isalnum() and unicodedata.category(character) != "Lo" for character in around
    )
