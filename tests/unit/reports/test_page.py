"""The report for a person: one file that asks nobody for anything."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.support.reports import EVALUATION, STUDY, page

from thriftune.tracking.delivery import without_quotes

pytestmark = pytest.mark.unit


def test_the_page_stands_alone_and_escapes_what_it_shows() -> None:
    """No address, script or style sheet of elsewhere; names of criteria and warnings are text."""
    text = page()
    assert re.findall(r"(?:src|href)\s*=|url\(|@import|<script", text) == []
    assert "SLEEP_&lt;b&gt;" in text
    assert "&lt;script&gt;alert(1)" in text


def test_every_part_is_there() -> None:
    """Headings, in the order of a reader's questions; a chart to each of the search's."""
    text = page()
    assert re.findall(r"<h2>(.+?)</h2>", text) == [
        "The answer",
        "Can you trust it?",
        "What it cost",
        "Per criterion, on test",
        "Right and wrong",
        "Evidence, found and missed",
        "Trials",
        "Parameters against value",
        "What mattered",
        "Learning curves of the best trials",
        "Bytes on disk",
        "Data and versions",
    ]
    assert text.count("<svg") == 6


def test_it_says_how_far_to_trust_and_what_it_cost() -> None:
    """The promise of validation lies outside the interval; test was read twice."""
    text = " ".join(page().split())
    assert "0.750 on validation, on which this model was chosen, 0.500 on test" in text
    assert "lies outside the 95 % interval" in text
    assert "exact 1,234, fuzzy 5" in text
    assert "2 complete, 0 pruned, 1 failed. At most 2.0 MB on disk, of a budget of 1.0 GB" in text
    assert "would have taken 10.0 MB" in text
    assert "Test was read once" in text
    (first,) = EVALUATION["evaluations"]
    twice = EVALUATION | {"evaluations": [first, first | {"at": "b", "forced": True}]}
    assert "Test was read 2 times, last b (forced)" in page(evaluation=twice)


def test_right_and_wrong_are_counted_by_criterion() -> None:
    """Rows: the truth; columns: the prediction."""
    text = re.sub(r"\s+", " ", page())
    rows = re.findall(
        r'<th scope="row">(not met|met)</th><td class="(\w+)">(\d+)</td><td class="(\w+)">(\d+)', text
    )
    assert rows == [("not met", "right", "11", "wrong", "12"), ("met", "wrong", "13", "right", "14")] * 2


def test_quotes_are_marked_and_can_be_left_out() -> None:
    """For the eye and for a screen reader; the copy for others has no text of a post, nor their ids."""
    text = page()
    assert (
        '<blockquote>I &lt;am&gt; <mark class="missed"><span class="read-aloud">[missed: </span>low today'
        in text
    )
    copy = without_quotes(text)
    assert "quotes no posts" in copy
    assert [word in copy for word in ("low today", "post-7", "I &lt;am", "<mark")] == [False] * 4
    assert len(re.findall("<h2>", copy)) == len(re.findall("<h2>", text))
    assert "none, and why" in page(examples="none, and why")


def test_an_agent_that_is_absent_has_no_part() -> None:
    """Evidence alone; criteria alone; too few trials for importance."""
    metrics: dict[str, Any] = EVALUATION["test_metrics"]
    evidence = page(evaluation=EVALUATION | {"test_metrics": {"evidence": metrics["evidence"]}})
    assert "Right and wrong" not in evidence
    assert "Evidence, found" in evidence
    criteria = page(evaluation=EVALUATION | {"test_metrics": {"criteria": metrics["criteria"]}})
    assert "Evidence, found" not in criteria
    assert "Too few complete trials" in page(study=STUDY | {"importances": None})
