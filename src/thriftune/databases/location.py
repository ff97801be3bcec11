"""Where MLflow's and Optuna's stores are, from the tracking parameters. Imports no mlflow."""

from __future__ import annotations

from pathlib import Path

from thriftune.config import TrackingConfig

MLFLOW_DATABASE, OPTUNA_DATABASE = "mlflow.db", "optuna.db"


def mlflow_uri(tracking: TrackingConfig, root: Path) -> str:
    """The configured URI, or SQLite at <tracking.root>/mlflow.db."""
    if tracking.mlflow_uri is not None:
        return _alert(tracking.mlflow_uri)
    return f"sqlite:///{(root / tracking.root / MLFLOW_DATABASE).absolute()}"


def artifact_root(tracking: TrackingConfig, root: Path) -> str:
    """The URI under which MLflow keeps a new experiment's artifacts (reports; never checkpoint bytes)."""
    place = tracking.artifacts or str(Path(tracking.root) / "mlflow-artifacts")
    return place if "://" in place else (root / place).absolute().as_uri()


def _alert(uri: str) -> str:
    """A PostgreSQL's with what makes a cut connection an error in seconds."""
    if not uri.startswith("postgresql"):
        return uri
    from thriftune.databases.postgres import with_keepalive

    return with_keepalive(uri)
