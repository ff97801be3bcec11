"""report.html: one self-contained page with result, curves and bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from thriftune.evaluation.charts import bars, line_chart, scatter

TEMPLATE = Path(__file__).parent / "page.html.jinja"


def render_page(
    *,
    evaluation: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    curves: Mapping[int, Sequence[tuple[int, float]]],
    held_bytes: int,
    budget_bytes: int,
    keep_all_bytes: int,
    criteria: Sequence[str],
    created_at: str,
) -> str:
    """The page as HTML; everything shown is escaped."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    bytes_shown = {"held": held_bytes, "keep-all": keep_all_bytes, "budget": budget_bytes}
    history = [(row["trial"], row["value"]) for row in trials if row["value"] is not None]
    return template.render(
        evaluation=evaluation,
        headline=headline(evaluation),
        trials=trials,
        criteria=criteria,
        created_at=created_at,
        curve_chart=line_chart({f"trial {n}": line for n, line in curves.items()}, "epoch"),
        history_chart=scatter(history, "trial"),
        bytes_chart=bars(
            {name: float(size) for name, size in bytes_shown.items()},
            {name: f"{size / 1e6:,.1f} MB" for name, size in bytes_shown.items()},
        ),
    )


def headline(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures that a reader looks for first, with their intervals and baselines."""
    base = evaluation["baselines"]
    wanted = (
        (
            "criteria",
            "f1_macro",
            "Criteria F1 (macro)",
            max(base["criteria_f1_macro_all_positive"], base["criteria_f1_macro_majority"]),
        ),
        ("criteria", "f1_micro", "Criteria F1 (micro)", None),
        (
            "evidence",
            "sentence_f1_micro",
            "Evidence F1 (sentences, micro)",
            base["sentence_f1_micro_all_of_post"],
        ),
        ("joint", "f1_micro", "Joint F1", None),
    )
    return [
        {
            "name": title,
            "value": evaluation["test_metrics"][section][key],
            "interval": evaluation["intervals"].get(f"{section}.{key}"),
            "baseline": baseline,
        }
        for section, key, title, baseline in wanted
        if section in evaluation["test_metrics"]
    ]
