"""`tracking`: where MLflow and Optuna keep their records."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_serializer, field_validator

from thriftune.config.base import Section, Text
from thriftune.config.urls import OPTUNA_STORE, with_driver, without_password

STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""Kinds of stores that MLflow can keep its runs in; it has dropped its file store."""


class TrackingConfig(Section):
    """Stores of metrics and trials, and how much is logged."""

    root: Text = "data/tracking"
    """Directory of the SQLite databases; a relative path starts at the project."""
    mlflow_uri: Text | None = None
    """URI of MLflow's server or database; null: SQLite at <root>/mlflow.db."""
    optuna_url: Text | None = None
    """URL of a PostgreSQL, for workers on several machines; null: SQLite at <root>/optuna.db."""
    artifacts: Text | None = None
    """Folder or URI of MLflow's artifacts (reports, no checkpoints); null: below root."""
    experiment: Text = "thriftune"
    """Name of MLflow's experiment for all runs."""
    log_every_steps: int = Field(default=20, ge=1)
    """Optimizer steps in one row of training metrics, which has their means, and the last learning rate."""
    figures: Literal["curves", "all"] = "curves"
    """Validation metrics that are logged every epoch: curves: the averages and each criterion's F1; all:
    every one, for three times the bytes in journals and MLflow. validation.json has all of the best epoch."""

    @property
    def folder(self) -> Path:
        """The absolute path of `root`."""
        return self.resolve(self.root)

    @field_validator("mlflow_uri")
    @classmethod
    def _known_scheme(cls, value: str | None) -> str | None:
        scheme = (value or "sqlite:").partition(":")[0].partition("+")[0]
        if scheme not in STORES:
            raise ValueError(
                f"expected a URI that begins with one of {', '.join(STORES)}, got {without_password(value)!r}"
            )
        return with_driver(value)

    @field_validator("optuna_url")
    @classmethod
    def _is_postgres(cls, value: str | None) -> str | None:
        if value is not None and value.partition(":")[0].partition("+")[0] != OPTUNA_STORE:
            raise ValueError(
                f"expected {OPTUNA_STORE}://user@host/database, got {without_password(value)!r}; SQLite "
                "(null) serves one machine"
            )
        return with_driver(value)

    @field_serializer("mlflow_uri", "optuna_url")
    def _never_a_password(self, value: str | None) -> str | None:
        """Refuse a password: records, runs and messages show where a store is."""
        return None if value is None else without_password(value)
