"""An evaluation and a study as their records have them, and the page made of them."""

from __future__ import annotations

from typing import Any

from thriftune.evaluation.examples import Example, Piece
from thriftune.evaluation.record import EvaluationRecord
from thriftune.reports.charts import Axis
from thriftune.reports.page import Page, render_page

CRITERIA = ["SLEEP_<b>", "MOOD"]
FIGURES = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 4, "confusion": [[11, 12], [13, 14]]}
EVALUATION: dict[str, Any] = {
    "schema_version": 1,
    "study_id": "sample-0",
    "study_name": "sample",
    "best_trial": 1,
    "optimization_metric": "joint.f1_micro",
    "validation_score": 0.75,
    "git_commit": "0" * 40,
    "evaluations": [
        {"at": "2026-11-26T11:00:00+00:00", "forced": False, "trial": 1, "epoch": 2, "sha256": "f" * 64}
    ],
    "warnings": ["the <script>alert(1)</script> split is small"],
    "checkpoints": [{"trial": 1, "epoch": 2, "path": "trials", "sha256": "f" * 64, "kept": True}],
    "thresholds": {},
    "config": {},
    "seeds": {},
    "timings": {},
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
    "intervals": {"criteria.f1_macro": [0.4, 0.6], "joint.f1_micro": [0.3, 0.7]},
    "test_metrics": {
        "criteria": {
            "f1_macro": 0.5,
            "f1_micro": 0.5,
            "per_criterion": dict.fromkeys(CRITERIA, FIGURES),
        },
        "evidence": {
            "sentence_f1_micro": 0.5,
            "sentence_f1_macro": 0.5,
            "per_criterion": {name: {"sentence_f1": 0.5} for name in CRITERIA},
        },
        "joint": {"f1_micro": 0.5},
    },
}
STUDY = {
    "metric": "joint.f1_micro",
    "seconds": 7200.0,
    "states": {"complete": 2, "pruned": 0, "fail": 1, "running": 0},
    "importances": {"training.learning_rate": 0.9, "model.dropout": 0.1},
    "trials": [
        {"trial": 0, "state": "complete", "value": 0.5, "epochs": 2, "seconds": 3.5},
        {"trial": 1, "state": "complete", "value": 0.75, "epochs": 2, "seconds": 3.5},
        {"trial": 2, "state": "fail", "value": None, "epochs": 0, "seconds": None},
    ],
}
QUOTE = Example("MOOD", "missed", "post-7", (Piece("I <am> "), Piece("low today", "missed")))


def page(**changes: Any) -> str:
    """Of three trials, one of which has no value."""
    shown: dict[str, Any] = {
        "evaluation": EVALUATION,
        "study": STUDY,
        "curves": {1: [(1, 0.5), (2, 0.75)]},
        "axes": [Axis("training.learning_rate", [1e-4, 1e-3], True)],
        "bytes_held": {
            "held": [(0, 10**6), (2, 2 * 10**6)],
            "budget": [(0, 10**9), (2, 10**9)],
            "keep-all": [(0, 10**6), (2, 10**7)],
        },
        "examples": [QUOTE],
        "alignment": {"exact": 1234, "fuzzy": 5},
        "created_at": "2026-11-26T10:00:00+00:00",
    }
    shown |= changes
    return render_page(Page(**{**shown, "evaluation": EvaluationRecord.from_json(shown["evaluation"])}))
