"""What the report quotes is what annotators and model mark, in the split's order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thriftune.evaluation.examples import AROUND, LONGEST, Example, mark, pick

pytestmark = pytest.mark.unit
TEXT = "I sleep badly. I eat well. I cannot rest."
SLEEP, EAT, REST = (0, 14), (15, 26), (27, 41)


def line(post_id: str, true: list[tuple[int, int]], predicted: list[tuple[int, int]]) -> dict[str, Any]:
    """One of predictions.jsonl."""
    sides = {"evidence_true": true, "evidence": predicted}
    return {
        "post_id": post_id,
        **{key: [{"criterion": "SLEEP", "start": a, "end": b} for a, b in own] for key, own in sides.items()},
    }


def quoted(example: Example) -> str:
    return "".join(piece.text for piece in example.pieces)


def test_evidence_is_found_missed_or_extra() -> None:
    """By a shared character; what only touches shares none."""
    assert mark([SLEEP, REST], [(10, 14), EAT]) == [(SLEEP, "found"), (EAT, "extra"), (REST, "missed")]
    assert mark([(0, 5)], [(5, 9)]) == [((0, 5), "missed"), ((5, 9), "extra")]


def test_the_first_posts_of_each_kind_are_quoted_with_all_their_marks() -> None:
    """A post is an example of every kind that it shows."""
    posts = [(f"p{number}", TEXT) for number in range(4)]
    lines = [
        line("p0", [], []),
        line("p1", [SLEEP, REST], [SLEEP]),
        line("p2", [SLEEP], [SLEEP]),
        line("p3", [], [EAT]),
    ]
    found = pick(posts, lines, ["SLEEP", "OTHER"], 1)
    assert [(e.kind, e.post_id) for e in found] == [("missed", "p1"), ("extra", "p3"), ("found", "p1")]
    assert [(p.text, p.kind) for p in found[0].pieces] == [
        ("I sleep badly.", "found"),
        (" I eat well. ", None),
        ("I cannot rest.", "missed"),
    ]
    assert [e.post_id for e in pick(posts, lines, ["SLEEP"], 2) if e.kind == "found"] == ["p1", "p2"]


@given(
    st.text(alphabet="ab c.\n", min_size=1, max_size=4000),
    st.lists(st.tuples(st.integers(0, 3999), st.integers(1, 900), st.booleans()), min_size=1, max_size=8),
)
def test_a_quotation_is_a_stretch_of_the_post(text: str, spans: list[tuple[int, int, bool]]) -> None:
    """Nothing is left out or said twice between its ends, however the marks overlap."""
    sides: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for start, length, is_true in spans:
        low = min(start, len(text) - 1)
        sides[is_true].append((low, min(low + length, len(text))))
    for example in pick([("p", text)], [line("p", sides[True], sides[False])], ["SLEEP"], 1):
        whole = quoted(example).removeprefix("…").removesuffix("…")
        assert whole in text
        assert len(whole) <= LONGEST + 50
        assert any(piece.kind == example.kind for piece in example.pieces)


def test_a_long_post_is_cut_between_words() -> None:
    """On both sides, and said."""
    text = "word " * 1000
    (example,) = pick([("p", text)], [line("p", [(2500, 2504)], [])], ["SLEEP"], 1)
    shown = quoted(example)
    assert shown.startswith("… word")
    assert shown.endswith("word…")
    assert set(shown.strip("… ").split()) == {"word"}
    assert len(shown) < 3 * AROUND + 50


def test_predictions_of_other_posts_are_refused() -> None:
    """Another order, fewer, more."""
    with pytest.raises(ValueError, match="predictions of p1 where those of p0"):
        pick([("p0", TEXT)], [line("p1", [], [])], ["SLEEP"], 1)
    with pytest.raises(ValueError, match="zip"):
        pick([("p0", TEXT)], [], ["SLEEP"], 1)
