"""Wiring between Kedro, kedro-mlflow and the core.

Parameters are parsed before kedro-mlflow touches its store; catalog.yml and mlflow.yml get their
settings from the parameters through resolvers; the study's MLflow run is found or made by us and
handed to kedro-mlflow, which never opens one of its own for a study.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from omegaconf import OmegaConf

from thriftune.resolvers import resolvers

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

STUDY_PIPELINES = ("hpo", "train", "evaluate", "__default__")


class ThriftuneHooks:
    """The project's only hooks."""

    def __init__(self) -> None:
        self._context: Any = None
        self._settings: Any = None
        self._parent: Any = None

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: Any) -> None:
        """Parse the parameters, set up the log, and register the resolvers."""
        from thriftune.config import parse_parameters
        from thriftune.project import sources

        raw = dict(context.config_loader["parameters"])
        runtime = context.config_loader.runtime_params or {}
        where = dict(sources(Path(context.project_path), context.env, runtime))
        self._context = context
        self._settings = parse_parameters(raw, where=where)
        for name, resolver in resolvers(self._settings, Path(context.project_path)).items():
            OmegaConf.register_resolver(name, resolver, replace=True)

    @hook_impl
    def after_catalog_created(self, catalog: Any) -> None:
        """Offer the parsed parameters to the nodes."""
        from kedro.io import MemoryDataset

        catalog["settings"] = MemoryDataset(self._settings, copy_mode="assign")

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Find or make the study's MLflow run and hand it to kedro-mlflow, and mask the secrets in what
        kedro-mlflow makes tags of: the options and the whole command line."""
        from thriftune.observe.sanitiser import Sanitiser

        run_params.update(Sanitiser(self._settings.observe.redact).clean_value(run_params))
        names = run_params.get("pipeline_names") or ["__default__"]
        if not set(names) & set(STUDY_PIPELINES):
            return
        from thriftune.search.identity import study_id
        from thriftune.search.study import as_single_trial
        from thriftune.tracking.parent import ParentRun

        settings = self._settings
        if "train" in names:
            settings = as_single_trial(settings)
        name = settings.study.name
        self._parent = ParentRun(settings, Path(self._context.project_path), study_id(name), name)
        self._context.mlflow.tracking.run.id = self._parent.open()
        self._context.mlflow.tracking.run.name = name

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """The parent run is FINISHED."""
        self._close("FINISHED")

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """The parent run is KILLED where a signal ended the run, else FAILED."""
        from thriftune.errors import InterruptedRunError

        self._close("KILLED" if isinstance(error, InterruptedRunError) else "FAILED")

    def _close(self, status: str) -> None:
        if self._parent is None:
            return
        try:
            self._parent.close(status)
        except Exception as error:
            # MLflow's state must not turn a finished run into a failed command.
            logging.getLogger(__name__).warning("MLflow run not closed: %s", error)
        self._parent = None
