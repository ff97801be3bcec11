"""Plotly figures of a study for the previews in Kedro-Viz, as values of Plotly's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypedDict

from thriftune.reports.trial_costs import TrialCosts

if TYPE_CHECKING:  # which imports Optuna
    from thriftune.reports.summary import TrialSummary


class Figure(TypedDict):
    """A figure in Plotly's JSON."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]


def history(trials: Sequence[TrialSummary], metric: str) -> Figure:
    """Return the value of each trial, complete ones filled, and the best complete one so far.

    Args:
        trials: All trials; those that failed, or run, are left out.
        metric: Name of the value.
    """
    valued = [row for row in trials if row["value"] is not None and row["state"] in ("complete", "pruned")]
    complete = [row for row in valued if row["state"] == "complete"]
    best = accumulate((row["value"] for row in complete if row["value"] is not None), max)
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "name": "trial",
                "x": [row["trial"] for row in valued],
                "y": [row["value"] for row in valued],
                "text": [row["state"] for row in valued],
                "marker": {
                    "symbol": ["circle" if r["state"] == "complete" else "circle-open" for r in valued]
                },
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": "best so far",
                "line": {"shape": "hv"},
                "x": [row["trial"] for row in complete],
                "y": list(best),
            },
        ],
        "layout": _layout(f"{metric} on validation", "trial", metric),
    }


def scores(evaluation: Mapping[str, Any]) -> Figure:
    """Return F1 of each criterion on test, with its 95 % interval.

    Args:
        evaluation: The content of evaluation.json; before the test evaluation it has no figures.
    """
    figures = evaluation.get("test_metrics", {}).get("criteria", {}).get("per_criterion", {})
    intervals = evaluation.get("intervals", {})
    names = list(figures)
    values = [figures[name]["f1"] for name in names]
    ends = [
        (value, *intervals.get(f"criteria.per_criterion.{name}.f1", (value, value)))
        for name, value in zip(names, values, strict=True)
    ]
    return {
        "data": [
            {
                "type": "bar",
                "x": names,
                "y": values,
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [max(0.0, high - value) for value, _, high in ends],
                    "arrayminus": [max(0.0, value - low) for value, low, _ in ends],
                },
            }
        ],
        "layout": _layout("F1 of each criterion on test, 95 % intervals", "", "F1"),
    }


def bytes_over_time(costs: TrialCosts) -> Figure:
    """Return the bytes on disk at the end of each trial, and the budget.

    Args:
        costs: What each trial cost.
    """
    trials = list(costs.trials)
    return {
        "data": [
            {"type": "scatter", "mode": "lines", "name": "held", "x": trials, "y": list(costs.held_bytes)},
            {
                "type": "scatter",
                "mode": "lines",
                "name": "budget",
                "line": {"dash": "dash"},
                "x": [trials[0], trials[-1]] if trials else [],
                "y": [costs.budget_bytes] * 2 if trials else [],
            },
        ],
        "layout": _layout("Bytes on disk at the end of each trial", "trial", "bytes"),
    }


def _layout(title: str, x: str, y: str) -> dict[str, Any]:
    return {
        "title": {"text": title},
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}, "rangemode": "tozero"},
    }
