"""Where MLflow's and Optuna's stores are, from the tracking parameters. Imports no mlflow."""

from __future__ import annotations

from pathlib import Path

from thriftune.config import TrackingConfig

MLFLOW_DATABASE, OPTUNA_DATABASE = "mlflow.db", "optuna.db"


def mlflow_uri(tracking: TrackingConfig) -> str:
    """Return the configured URI of MLflow's store, or that of the SQLite file below `tracking.root`.

    Args:
        tracking: The tracking parameters, placed in a project (`Parameters.at`).
    """
    if tracking.mlflow_uri is not None:
        return _with_keepalive(tracking.mlflow_uri)
    return f"sqlite:///{tracking.folder / MLFLOW_DATABASE}"


def artifact_root(tracking: TrackingConfig) -> str:
    """Return the URI under which MLflow keeps a new experiment's artifacts: reports, never checkpoints.

    Args:
        tracking: The tracking parameters, placed in a project (`Parameters.at`).
    """
    place = tracking.artifacts or str(Path(tracking.root) / "mlflow-artifacts")
    return place if "://" in place else tracking.resolve(place).as_uri()


def _with_keepalive(uri: str) -> str:
    """Return a PostgreSQL's URI with the options that make a cut connection an error within seconds."""
    if not uri.startswith("postgresql"):
        return uri
    from thriftune.databases.postgres import with_keepalive

    return with_keepalive(uri)
