"""A forecast for people: a table, and its conclusion in one line."""

from __future__ import annotations

from dataclasses import asdict

from thriftune.forecast.estimate import StudyForecast
from thriftune.units import human_bytes

TITLES = {
    "model_bytes": "model weights in a checkpoint",
    "trials": "trials",
    "budget_bytes": "budget (storage.max_total_size)",
    "least_budget_bytes": "smallest sufficient budget, with its reserve",
    "most_bytes": "most bytes on disk at once",
    "most_at_trial": "  in trial",
    "most_at_epoch": "  after epoch",
    "fixed_bytes": "  of which corpora, tokens, databases",
    "bytes_per_trial": "  and per trial, besides checkpoints",
    "written_bytes": "checkpoint bytes written in total",
    "keep_all_bytes": "bytes on disk if every checkpoint were kept",
    "fits": "fits the budget",
    "further_worker_bytes": "budget for each further worker",
}
"""Titles of a forecast's fields, in the order of the table."""


def forecast_table(found: StudyForecast) -> dict[str, str]:
    """Return a forecast as titles and values for people.

    Args:
        found: The forecast.
    """
    values = asdict(found)
    shown = {key: human_bytes(value) if "bytes" in key else str(value) for key, value in values.items()}
    shown["fits"] = "yes" if found.fits else "no"
    return {title: shown[key] for key, title in TITLES.items()}


def forecast_summary(found: StudyForecast) -> str:
    """Return the conclusion of a forecast in one line.

    Args:
        found: The forecast.
    """
    budget, most = human_bytes(found.budget_bytes), human_bytes(found.most_bytes)
    if not found.fits:
        return (
            f"storage: a budget of {budget} is too small for this study; it needs at least "
            f"{human_bytes(found.least_budget_bytes)}, and would hold up to {most}"
        )
    return (
        f"storage: at most {most} of {budget} will be held, {human_bytes(found.written_bytes)} written in "
        f"all; keeping everything would take {human_bytes(found.keep_all_bytes)}"
    )
