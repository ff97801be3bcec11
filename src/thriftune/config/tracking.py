"""`tracking`: where metrics go."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_serializer, field_validator

from thriftune.config.base import Section, Text
from thriftune.config.urls import OPTUNA_STORE, with_driver, without_password

STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""What MLflow can keep its runs in; its file store was given up."""


class TrackingConfig(Section):
    """Where MLflow and Optuna keep their records."""

    root: Text = "data/tracking"
    mlflow_uri: Text | None = None
    """null: SQLite at <root>/mlflow.db."""
    optuna_url: Text | None = None
    """null: SQLite at <root>/optuna.db. Else a PostgreSQL, for workers on several machines."""
    artifacts: Text | None = None
    """Folder or URI of MLflow's artifacts (reports, no checkpoints); null: below root."""
    experiment: Text = "thriftune"
    """MLflow's experiment of all runs."""
    log_every_steps: int = Field(default=20, ge=1)
    """Optimizer steps of one row of training metrics: means over them, the learning rate at the last."""
    figures: Literal["curves", "all"] = "curves"
    """Validation figures that are logged every epoch: the averages and each criterion's F1, or all of
    them, at three times the bytes in journals and MLflow. The best epoch's are whole in validation.json."""

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
        """Records, runs and messages say where a store is, not how one gets in."""
        return None if value is None else without_password(value)
