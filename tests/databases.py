"""MLflow's tables, made once for all the tests that are not about their making."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from mlflow import MlflowClient

from thriftune.databases.sqlite import create_atomically


def copy_mlflow_tables(folder: Path) -> None:
    """Put an empty MLflow store, as a first run makes it, into a tracking folder.

    MLflow makes its tables in some 150 transactions, a second of work for each study of each test.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_template(), folder / "mlflow.db")


@cache
def _template() -> Path:
    root = Path(tempfile.mkdtemp(prefix="thriftune-tables-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    path = root / "mlflow.db"
    create_atomically(path, lambda url: MlflowClient(tracking_uri=url).search_experiments())
    return path
