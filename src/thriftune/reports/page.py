"""report.html: one self-contained page. What a reader wants first stands first: the answer, whether to trust
it, what it cost; then where it is right and wrong, then the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from thriftune.evaluation.examples import Example
from thriftune.evaluation.metrics import baseline_value, flatten
from thriftune.evaluation.record import EvaluationRecord
from thriftune.reports.charts import (
    Axis,
    Point,
    bars,
    byte_lines,
    history,
    interval_bars,
    line_chart,
    parallel,
)
from thriftune.units import human_bytes, human_seconds

TEMPLATE, STYLE = Path(__file__).parent / "page.html.jinja", Path(__file__).parent / "page.css"
ROWS_OPEN = 25
"""Trials up to which their table is open."""


def style() -> str:
    """The style sheet of the pages."""
    return STYLE.read_text(encoding="utf-8")


def render_page(
    *,
    evaluation: EvaluationRecord,
    study: Mapping[str, Any],
    curves: Mapping[int, Sequence[Point]],
    axes: Sequence[Axis],
    bytes_held: Mapping[str, Sequence[Point]],
    criteria: Sequence[str],
    examples: Sequence[Example] | str,
    alignment: Mapping[str, int],
    created_at: str,
) -> str:
    """The page as HTML; everything shown is escaped.

    study: of search.summary; its trials in order. curves: (epoch, value) of the best trials. axes: the
    searched parameters of the complete trials, in order of number. bytes_held: (trial, bytes) of `held`,
    `budget` and `keep-all`. examples: or why there are none. alignment: annotations by how they were placed.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    trials = study["trials"]
    complete = [row for row in trials if row["state"] == "complete" and row["value"] is not None]
    valued = [row for row in trials if row["state"] in ("complete", "pruned") and row["value"] is not None]
    importances = study["importances"]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        style=style(),
        evaluation=evaluation,
        headline=headline(evaluation),
        kept_word=kept_word(evaluation),
        study=study,
        trials=trials,
        rows_open=ROWS_OPEN,
        criteria=criteria,
        created_at=created_at,
        examples=examples,
        alignment=alignment,
        hours=human_seconds(study["seconds"]),
        sizes={
            name: human_bytes(round(max(y for _, y in line))) for name, line in bytes_held.items() if line
        },
        criteria_chart=_criteria_chart(evaluation, criteria),
        history_chart=history(
            [(row["trial"], row["value"], row["state"]) for row in valued],
            "trial",
            f"{study['metric']} of each trial on validation, and the best so far",
        ),
        parallel_chart=parallel(
            axes, [row["value"] for row in complete], "Parameters of the complete trials, the best on top"
        ),
        importance_chart=bars(
            importances or {},
            {name: f"{share:.0%}" for name, share in (importances or {}).items()},
            "Importance of each searched parameter, as in the table of the trials",
        ),
        curve_chart=line_chart(
            {f"trial {number}": line for number, line in curves.items()},
            "epoch",
            f"{study['metric']} on validation over the epochs of the best trials",
        ),
        bytes_chart=byte_lines(bytes_held, "trial", "Bytes on disk at the end of each trial"),
    )


def headline(evaluation: EvaluationRecord) -> list[dict[str, Any]]:
    """The figures that a reader looks for first, with their intervals and baselines."""
    wanted = (
        ("criteria.f1_macro", "Criteria F1 (macro)"),
        ("criteria.f1_micro", "Criteria F1 (micro)"),
        ("evidence.sentence_f1_micro", "Evidence F1 (sentences, micro)"),
        ("joint.f1_micro", "Joint F1"),
    )
    figures = flatten(evaluation.test_metrics.to_json())
    return [
        {
            "name": title,
            "value": figures[name],
            "interval": evaluation.intervals.get(name),
            "baseline": baseline_value(name, evaluation.baselines),
        }
        for name, title in wanted
        if name in figures
    ]


def kept_word(evaluation: EvaluationRecord) -> dict[str, Any]:
    """What validation, on which the best was chosen, promised, and what test gave: `holds` where the promise
    lies within the interval of the test figure; None where there is no interval."""
    metric = evaluation.optimization_metric
    promised, interval = evaluation.validation_score, evaluation.intervals.get(metric)
    return {
        "metric": metric,
        "validation": promised,
        "test": flatten(evaluation.test_metrics.to_json()).get(metric),
        "holds": None if interval is None else interval[0] <= promised <= interval[1],
    }


def _criteria_chart(evaluation: EvaluationRecord, criteria: Sequence[str]) -> str:
    if not criteria:
        return ""
    figures, ends = flatten(evaluation.test_metrics.to_json()), evaluation.intervals
    return interval_bars(
        {name: figures[f"criteria.per_criterion.{name}.f1"] or 0.0 for name in criteria},
        {name: ends.get(f"criteria.per_criterion.{name}.f1") for name in criteria},
        "F1 of each criterion with its 95 % interval, as in the table",
    )
