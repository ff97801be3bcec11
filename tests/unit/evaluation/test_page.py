"""The report for a person: one file that asks nobody for anything."""

from __future__ import annotations

import re

import pytest

from thriftune.evaluation.page import render_page

pytestmark = pytest.mark.unit
CRITERIA = ["SLEEP_<b>", "MOOD"]
FIGURES = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 4}
EVALUATION = {
    "study_id": "sample-0",
    "study_name": "sample",
    "best_trial": 1,
    "optimization_metric": "joint.f1_micro",
    "validation_score": 0.75,
    "git_commit": "0" * 40,
    "evaluations": [{"at": "2026-11-26T11:00:00+00:00", "forced": False}],
    "warnings": ["the <script>alert(1)</script> split is small"],
    "checkpoints": [{"epoch": 2, "sha256": "f" * 64}],
    "machine": {"platform": "Linux"},
    "versions": {"torch": "2.13.0"},
    "data": {
        "fingerprint": "a" * 64,
        "counts": {"train": 6, "validation": 2, "test": 2},
        "revision": {"id": "owner/posts", "commit": "c" * 40},
    },
    "baselines": {
        "criteria_f1_macro_all_positive": 0.3,
        "criteria_f1_macro_majority": 0.1,
        "sentence_f1_micro_all_of_post": 0.2,
    },
    "intervals": {"criteria.f1_macro": [0.4, 0.6]},
    "test_metrics": {
        "criteria": {
            "f1_macro": 0.5,
            "f1_micro": 0.5,
            "per_criterion": dict.fromkeys(CRITERIA, FIGURES),
        },
        "evidence": {
            "sentence_f1_micro": 0.5,
            "per_criterion": {name: {"sentence_f1": 0.5} for name in CRITERIA},
        },
        "joint": {"f1_micro": 0.5},
    },
}
TRIALS = [
    {"trial": number, "state": "complete", "value": value, "epochs": 2, "seconds": 3.5}
    for number, value in enumerate((0.5, 0.75, None))
]


def page() -> str:
    """Of three trials, one of which has no value."""
    return render_page(
        evaluation=EVALUATION,
        trials=TRIALS,
        curves={1: [(1, 0.5), (2, 0.75)]},
        held_bytes=10**6,
        budget_bytes=10**9,
        keep_all_bytes=10**7,
        criteria=CRITERIA,
        created_at="2026-11-26T10:00:00+00:00",
    )


def test_the_page_stands_alone_and_escapes_what_it_shows() -> None:
    """No address, script or style sheet of elsewhere; names of criteria and warnings are text."""
    text = page()
    assert re.findall(r"(?:src|href)\s*=|url\(|@import|<script", text) == []
    assert "SLEEP_&lt;b&gt;" in text
    assert "&lt;script&gt;alert(1)" in text


def test_every_part_is_there() -> None:
    """Headings, in the order of a reader's questions."""
    assert re.findall(r"<h2>(.+?)</h2>", page()) == [
        "Mind these",
        "Per criterion, on test",
        "Trials",
        "Learning curves of the best trials",
        "Bytes on disk",
        "Data and versions",
    ]
