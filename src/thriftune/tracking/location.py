"""Where MLflow's and Optuna's stores are, from the tracking parameters. Imports no mlflow."""

from __future__ import annotations

from pathlib import Path

from thriftune.config import TrackingConfig

MLFLOW_DATABASE = "mlflow.db"


def mlflow_uri(tracking: TrackingConfig, root: Path) -> str:
    """The configured URI, or SQLite at <tracking.root>/mlflow.db."""
    if tracking.mlflow_uri is not None:
        return tracking.mlflow_uri
    return f"sqlite:///{(root / tracking.root / MLFLOW_DATABASE).absolute()}"


def artifact_root(tracking: TrackingConfig, root: Path) -> str:
    """The URI under which MLflow keeps its artifacts (reports; never checkpoint bytes)."""
    return (root / tracking.root / "mlflow-artifacts").absolute().as_uri()
