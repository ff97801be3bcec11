"""Annotated sentences are found where they came from, or not at all."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.unit.corpus.made_annotations import CHANGES, made

from thriftune.corpus.align import Aligner
from thriftune.dual_agent.sentences import split_sentences
from thriftune.dual_agent.windows import marked_sentences

pytestmark = pytest.mark.unit
POSTS = 150


def test_made_annotations_are_found_where_they_came_from() -> None:
    """Of what shares 70 % of its words at least 95 % in its own sentence, kind by kind; of all that is
    placed, sentences that are not in their post and such of 30 to 60 % among it, at least 99 %."""
    asked, right, placed = Counter[str](), Counter[str](), Counter[str]()
    for text, annotated in made(seed=0, posts=POSTS):
        candidates = split_sentences(text)
        for item in annotated:
            found = Aligner(text, candidates, 70).align(item.sentence, "A")
            asked[item.kind] += 1
            if found.start is None or found.end is None:
                continue
            placed[item.kind] += 1
            marked = set(marked_sentences((found.start, found.end), candidates))
            right[item.kind] += len(marked) == 1 and marked <= item.truth
    assert asked["absent"] == 2 * POSTS
    for kind in CHANGES:
        assert right[kind] / asked[kind] >= 0.95, kind
    assert right.total() / placed.total() >= 0.99


def test_repeated_sentences_take_one_place_each() -> None:
    """Word for word and in other words; one that is left over gets the last place again."""
    text = "I sleep badly every night. The bus was late. I sleep badly every night."
    aligner = Aligner(text, split_sentences(text), 70)
    places = [aligner.align("I sleep badly every night.", "A").start for _ in range(3)]
    assert places == [0, 45, 45]
    assert aligner.shared == 0
    aligner = Aligner(text, split_sentences(text), 70)
    assert [aligner.align("I sleep badly each night", "A").start for _ in range(2)] == [0, 45]
    assert aligner.align("I sleep badly each night", "B").start == 0


def test_two_sentences_on_one_place_are_counted() -> None:
    """Only where the post has no other place for the second."""
    text = "I sleep badly every night. The bus was late."
    aligner = Aligner(text, split_sentences(text), 70)
    assert aligner.align("I sleep badly every night.", "A").start == 0
    assert aligner.align("I sleep badly each night", "A").start == 0
    assert aligner.shared == 1
    assert aligner.align("I sleep badly each night", "B").start == 0
    assert aligner.shared == 1


def test_a_sentence_that_the_annotator_cut_otherwise_is_found_whole() -> None:
    """Of two candidates, and a part of one."""
    text = "We met Dr. Miller at noon; he was kind. It rained all day and all night. We went home."
    candidates = split_sentences(text)
    both = Aligner(text, candidates, 70).align("it rained all day and all the night we went home", "A")
    assert text[both.start : both.end] == "It rained all day and all night. We went home."
    part = Aligner(text, candidates, 70).align("rained all day and all", "A")
    assert text[part.start : part.end] == "rained all day and all"
    assert part.found == "exact"
