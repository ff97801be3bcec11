"""The JSON Schemas of what the project writes."""

from __future__ import annotations

from typing import Any

from thriftune.checkpoints.manifest import manifest_schema
from thriftune.config import Parameters
from thriftune.evaluation.record import EvaluationRecord, TrialReport
from thriftune.json_records import JsonRecord


def json_schema(name: str) -> Any:
    """Return the JSON Schema of a kind of file.

    Args:
        name: evaluation, trial, manifest or parameters.
    """
    if name == "manifest":
        return manifest_schema()
    if name == "parameters":
        return Parameters.model_json_schema()
    kinds: dict[str, type[JsonRecord]] = {"evaluation": EvaluationRecord, "trial": TrialReport}
    return kinds[name].json_schema()
