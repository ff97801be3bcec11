"""Plotly figures of a study, for the previews in Kedro-Viz: plain values, as Plotly's JSON has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from thriftune.reports.trial_costs import TrialCosts

Figure = dict[str, Any]


def history(trials: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Value of each trial, complete ones filled, and the best of the complete ones so far. trials: rows of
    search.summary."""
    valued = [row for row in trials if row["value"] is not None and row["state"] in ("complete", "pruned")]
    complete = [row for row in valued if row["state"] == "complete"]
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
                "y": list(accumulate((row["value"] for row in complete), max)),
            },
        ],
        "layout": _layout(f"{metric} on validation", "trial", metric),
    }


def scores(evaluation: Mapping[str, Any]) -> Figure:
    """F1 of each criterion on test, with its 95 % interval; empty before the test evaluation."""
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
    """Bytes held at the end of each trial, and the budget."""
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
