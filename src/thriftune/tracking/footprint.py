"""How many bytes metrics take: in a trial's journal, and in MLflow's and Optuna's SQLite files.

A journal's line is counted as it is written. What a row takes in a database, with its indexes and half-empty
pages, was measured on MLflow 3.17 and Optuna 5.0; a database server is not counted at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import JsonValue

from thriftune.databases.sqlite import LOG_BYTES, new_name
from thriftune.tracking.records import encode

TYPICAL_VALUE, TYPICAL_TIME = 0.8823529411764706, 1_795_557_709_303
EMPTY_MLFLOW_BYTES, EMPTY_OPTUNA_BYTES = 893_000, 115_000
"""A new store's tables."""
LOG_INDEX_BYTES = 32_768
OPTUNA_LOG_BYTES, MLFLOW_LOG_BYTES = LOG_BYTES + LOG_INDEX_BYTES, LOG_INDEX_BYTES
"""Their write-ahead logs with an index each; MLflow's is emptied after each sending."""
METRIC_BYTES, LATEST_BYTES, PARAM_BYTES, RUN_BYTES = 235, 254, 190, 1_900
"""A row of metrics beside three copies of its key; of latest metrics; of parameters; a run with tags."""
ROW_FACTOR = 2.5
"""A row in MLflow's file against its line in the journal."""
OPTUNA_TRIAL_BYTES, OPTUNA_VALUE_BYTES = 500, 115
"""A trial with its parameters; an intermediate value of it."""


def journal_bytes(rows: Mapping[str, int]) -> int:
    """Return the bytes of a journal.

    Args:
        rows: Number of rows by key.
    """
    return sum(count * _line_bytes(key, count) for key, count in rows.items())


def mlflow_bytes(rows: Mapping[str, int], params: int) -> int:
    """Return the bytes by which one run makes MLflow's database grow.

    Args:
        rows: Number of rows by key.
        params: Number of parameters.
    """
    metrics = sum(count * (METRIC_BYTES + 3 * len(key)) for key, count in rows.items())
    return metrics + LATEST_BYTES * len(rows) + PARAM_BYTES * params + RUN_BYTES


def parent_bytes(keys: Iterable[str]) -> int:
    """Return the bytes that one row of each key takes in the study's own run.

    Args:
        keys: The rows' keys.
    """
    return sum(METRIC_BYTES + 3 * len(key) for key in keys)


def optuna_bytes(intermediate_values: int) -> int:
    """Return the bytes by which one trial makes Optuna's database grow.

    Args:
        intermediate_values: Number of epochs with a value.
    """
    return OPTUNA_TRIAL_BYTES + OPTUNA_VALUE_BYTES * intermediate_values


def growth_bytes(database: Path, waiting_bytes: int) -> int:
    """Return the bytes by which MLflow's SQLite file will grow, its tables included if there are none yet.

    Args:
        database: Path of the file, which need not exist.
        waiting_bytes: Bytes of journal lines that are not sent.
    """
    rows = round(ROW_FACTOR * max(0, waiting_bytes))
    if database.exists():
        return rows
    try:
        present = new_name(database).stat().st_size
    except FileNotFoundError:  # not started, or renamed into its place just now
        present = EMPTY_MLFLOW_BYTES if database.exists() else 0
    return rows + max(0, EMPTY_MLFLOW_BYTES - present)


def _line_bytes(key: str, step: int) -> int:
    row: dict[str, JsonValue] = {"key": key, "step": step, "timestamp": TYPICAL_TIME, "value": TYPICAL_VALUE}
    return len(encode(row))
