"""What a run imports, imported once in a process that forks.

Two modules stay out. `thriftune` is what a child is to run, from the copy that it is started in, and
`kedro.framework` keeps the project that it finds in the working folder: a child imports both itself.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import os
import sys
import threading

MODULES = (
    "accelerate",
    "alembic.command",
    "alembic.config",
    "appdirs",
    "arrow",
    "datasets",
    "dynaconf",
    "encodings.utf_8_sig",
    "httpx2",
    "iterstrat.ml_stratifiers",
    "jsonschema",
    "kedro.config",
    "kedro.pipeline",
    "kedro.validation",
    "kedro_datasets.pickle",
    "lion_pytorch",
    "mlflow.pyfunc",
    "mlflow.server.fastapi_app",
    "mlflow.sklearn",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.tracing.export.utils",
    "mlflow.tracing.processor.otel",
    "mlflow.transformers",
    "multiprocessing.managers",
    "numpy",
    "omegaconf.vendor.antlr4.LL1Analyzer",
    "optuna.importance",
    "optuna.storages._rdb.models",
    "optuna.storages._rdb.storage",
    "pandas",
    "pathspec",
    "peft",
    "pluggy",
    "psutil",
    "psycopg",
    "pyarrow.parquet",
    "rapidfuzz.fuzz",
    "rich.progress",
    "rich.traceback",
    "safetensors.torch",
    "scipy.stats",
    "semver",
    "sklearn.metrics",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
    "tenacity",
    "tokenizers",
    "tomli_w",
    "torch",
    "torch._inductor.config",
    "torch.utils.checkpoint",
    "transformers.models.bert.modeling_bert",
    "uvicorn",
    "webbrowser",
    "yaml",
)
"""Each brings those that it imports; some are imported only while a run is under way."""


def preload() -> None:
    """Import MODULES and hand the objects that exist to the collector's permanent generation.

    A collection in a child then walks only what the child made, and its memory stays shared with its parent.

    Raises:
        RuntimeError: a thread is left, which a fork would not have.
    """
    _set_what_libraries_read()
    for name in MODULES:
        importlib.import_module(name)
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        raise RuntimeError(f"importing tests.preloaded.MODULES left threads behind: {', '.join(others)}")
    inspect.getmodule(inspect.currentframe(), "of no module")  # fills its table of the modules that are there
    gc.collect()
    gc.freeze()


def _set_what_libraries_read() -> None:
    """Set the variables that `thriftune` and its commands set before the libraries are imported."""
    if "thriftune" not in sys.modules:
        environment = importlib.import_module("thriftune.project.environment")
        environment.set_library_options()
        process = importlib.import_module("thriftune.process")
        if not any(name in os.environ for name in process.WAITING):
            os.environ.update(process.WAIT)
        for name in [name for name in sys.modules if name.partition(".")[0] == "thriftune"]:
            del sys.modules[name]
