"""The figures are ones that Plotly takes, and show what they are given."""

from __future__ import annotations

import pytest
from plotly.graph_objects import Figure
from tests.support.reports import CRITERIA, EVALUATION

from thriftune.reports.figures import bytes_over_time, history, scores
from thriftune.reports.trial_costs import TrialCosts

pytestmark = pytest.mark.unit


def test_history_follows_the_best_of_the_complete_trials() -> None:
    """Failed and running ones have no place; a pruned one is hollow and never the best."""
    rows = [
        {"trial": 0, "state": "complete", "value": 0.25},
        {"trial": 1, "state": "pruned", "value": 0.75},
        {"trial": 2, "state": "fail", "value": None},
        {"trial": 3, "state": "complete", "value": 0.5},
        {"trial": 4, "state": "complete", "value": 0.375},
        {"trial": 5, "state": "running", "value": 0.9},
    ]
    dots, line = Figure(history(rows, "joint.f1_micro")).data
    assert list(dots.x) == [0, 1, 3, 4]
    assert list(dots.marker.symbol) == ["circle", "circle-open", "circle", "circle"]
    assert list(zip(line.x, line.y, strict=True)) == [(0, 0.25), (3, 0.5), (4, 0.5)]
    assert Figure(history([], "m")).data[0].x == ()


def test_scores_have_their_intervals() -> None:
    """Where there is one; before the evaluation nothing is shown."""
    ends = {f"criteria.per_criterion.{CRITERIA[0]}.f1": [0.25, 0.875]}
    (bars,) = Figure(scores(EVALUATION | {"intervals": ends})).data
    assert list(bars.x) == CRITERIA
    assert list(bars.y) == [0.5, 0.5]
    assert list(bars.error_y.arrayminus) == [0.25, 0.0]
    assert list(bars.error_y.array) == [0.375, 0.0]
    assert Figure(scores({"state": "unfinished"})).data[0].x == ()


def test_bytes_stand_against_the_budget() -> None:
    """From the first trial to the last."""
    held, budget = Figure(bytes_over_time(costs([0, 1, 4], [5, 6, 7]))).data
    assert list(held.y) == [5, 6, 7]
    assert list(zip(budget.x, budget.y, strict=True)) == [(0, 10), (4, 10)]
    assert Figure(bytes_over_time(costs([], []))).data[1].x == ()


def costs(trials: list[int], held_bytes: list[float]) -> TrialCosts:
    """What trials cost under a budget of ten bytes; all but bytes is nothing."""
    none = (0.0,) * len(trials)
    return TrialCosts(tuple(trials), none, none, none, tuple(held_bytes), none, none, budget_bytes=10)
