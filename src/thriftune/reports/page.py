"""report.html: one self-contained page.

What a reader wants to know first comes first: the answer, whether it can be trusted, what it cost; then
where it is right and wrong, then the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from thriftune.evaluation.examples import Example
from thriftune.evaluation.metrics import baseline_value, flatten
from thriftune.evaluation.record import EvaluationRecord
from thriftune.reports.charts import (
    Axis,
    Point,
    TrialPoint,
    bars,
    byte_lines,
    history,
    interval_bars,
    line_chart,
    parallel,
)
from thriftune.units import human_bytes, human_seconds

if TYPE_CHECKING:  # which imports Optuna
    from thriftune.reports.summary import StudySummary

TEMPLATE, STYLE = Path(__file__).parent / "page.html.jinja", Path(__file__).parent / "page.css"
ROWS_OPEN = 25
"""The table of the trials is open up to so many."""


@dataclass(frozen=True)
class Page:
    """What report.html shows."""

    evaluation: EvaluationRecord
    study: StudySummary
    curves: Mapping[int, Sequence[Point]]
    """(epoch, value) of the best trials, by number."""
    axes: Sequence[Axis]
    """Searched parameters of the complete trials, in the order of their numbers."""
    bytes_held: Mapping[str, Sequence[Point]]
    """(trial, bytes) of `held`, `budget` and `keep-all`."""
    examples: Sequence[Example] | str
    """Posts to quote, or why there are none."""
    alignment: Mapping[str, int]
    """Number of annotated sentences by how they were found in their posts."""
    created_at: str
    """When the study was started."""

    @property
    def criteria(self) -> list[str]:
        """Names of the criteria that were evaluated."""
        figures = self.evaluation.test_metrics.criteria
        return [] if figures is None else list(figures.per_criterion)


@dataclass(frozen=True)
class Headline:
    """A metric that a reader looks for first."""

    name: str
    value: float
    interval: tuple[float, float] | None
    """95 % interval."""
    baseline: float | None
    """What the best trivial predictor reaches."""


@dataclass(frozen=True)
class ValidationAndTest:
    """What validation, by which the model was chosen, promised, and what test gave."""

    metric: str
    validation: float
    test: float | None
    holds: bool | None
    """Whether the validation score lies within the interval of the test score; None without an interval."""


def render_page(page: Page) -> str:
    """Return the page as HTML; everything shown is escaped.

    Args:
        page: What it shows.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    largest = {name: max(y for _, y in line) for name, line in page.bytes_held.items() if line}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        style=STYLE.read_text(encoding="utf-8"),
        evaluation=page.evaluation,
        headline=headline(page.evaluation),
        validation_and_test=validation_and_test(page.evaluation),
        study=page.study,
        trials=page.study["trials"],
        rows_open=ROWS_OPEN,
        criteria=page.criteria,
        created_at=page.created_at,
        examples=page.examples,
        alignment=page.alignment,
        hours=human_seconds(page.study["seconds"]),
        sizes={name: human_bytes(round(size)) for name, size in largest.items()},
        **_charts(page),
    )


def headline(evaluation: EvaluationRecord) -> list[Headline]:
    """Return the metrics that a reader looks for first; those of an absent agent are left out.

    Args:
        evaluation: The test evaluation.
    """
    wanted = (
        ("criteria.f1_macro", "Criteria F1 (macro)"),
        ("criteria.f1_micro", "Criteria F1 (micro)"),
        ("evidence.sentence_f1_micro", "Evidence F1 (sentences, micro)"),
        ("joint.f1_micro", "Joint F1"),
    )
    figures, intervals = flatten(evaluation.test_metrics.to_json()), evaluation.intervals
    return [
        Headline(title, value, intervals.get(name), baseline_value(name, evaluation.baselines))
        for name, title in wanted
        if (value := figures.get(name)) is not None
    ]


def validation_and_test(evaluation: EvaluationRecord) -> ValidationAndTest:
    """Return the optimised metric on validation and on test.

    Args:
        evaluation: The test evaluation.
    """
    metric, validation = evaluation.optimization_metric, evaluation.validation_score
    ends = evaluation.intervals.get(metric)
    return ValidationAndTest(
        metric=metric,
        validation=validation,
        test=flatten(evaluation.test_metrics.to_json()).get(metric),
        holds=None if ends is None else ends[0] <= validation <= ends[1],
    )


def _charts(page: Page) -> dict[str, str]:
    """Return each chart of the page as SVG, by its name in the template; empty where there is nothing."""
    metric, importances = page.study["metric"], page.study["importances"] or {}
    rows = [row for row in page.study["trials"] if row["value"] is not None]
    points: list[TrialPoint] = []
    for row in rows:
        if row["state"] in ("complete", "pruned"):
            points.append(TrialPoint(row["trial"], row["value"] or 0.0, row["state"] == "complete"))
    return {
        "criteria_chart": _criteria_chart(page.evaluation, page.criteria),
        "history_chart": history(
            points, "trial", f"{metric} of each trial on validation, and the best so far"
        ),
        "parallel_chart": parallel(
            page.axes,
            [point.value for point in points if point.complete],
            "Parameters of the complete trials, the best on top",
        ),
        "importance_chart": bars(
            importances,
            {name: f"{share:.0%}" for name, share in importances.items()},
            "Importance of each searched parameter, as in the table of the trials",
        ),
        "curve_chart": line_chart(
            {f"trial {number}": line for number, line in page.curves.items()},
            "epoch",
            f"{metric} on validation over the epochs of the best trials",
        ),
        "bytes_chart": byte_lines(page.bytes_held, "trial", "Bytes on disk at the end of each trial"),
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
