"""Posts and their evidence. Characters are counted as in Python; ends are exclusive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
Found = Literal["exact", "folded", "fuzzy", "none", "label"]
"""How a sentence was found in its post; label: the data name only the criterion, without a sentence."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One annotated sentence of a post, aligned to the post's text."""

    criterion: str
    status: int
    """1: evidence for the criterion; 0: explicit negative."""
    start: int | None
    """First character in the post; None if the sentence could not be aligned."""
    end: int | None
    found: Found
    similarity: float
    """0 to 100, see Aligner.align; 100 for exact and folded matches, 0 if not found."""


@dataclass(frozen=True, slots=True)
class Post:
    """One post with its candidate sentences and its annotations."""

    post_id: str
    text: str
    criteria: tuple[str, ...]
    """The criteria that the post meets: those with at least one row of status 1."""
    evidence: tuple[Evidence, ...]
    sentences: tuple[tuple[int, int], ...]
    """Candidate sentences (start, end), cut from the text alone, ordered and disjoint."""
