"""Wiring between Kedro, kedro-mlflow and the core.

Parameters are parsed before kedro-mlflow touches its store; catalog.yml and mlflow.yml get their
settings from the parameters through resolvers; the study's MLflow run is found or made by us and
handed to kedro-mlflow, which never opens one of its own for a study.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from omegaconf import OmegaConf

from thriftune.pipeline_registry import DEFAULT, NAMES, WITH_STUDY
from thriftune.project.resolvers import resolvers

WITHOUT_MLFLOW = (
    "MLflow's store cannot be used (%s). The run goes on without it: the journals keep every metric; what "
    "waits there is sent once the store is back, by this run, the next, or `thriftune tracking flush`"
)

log = logging.getLogger(__name__)


class ThriftuneHooks:
    """The project's only hooks."""

    def __init__(self) -> None:
        self._context: Any = None
        self._settings: Any = None
        self._parent: Any = None
        self._tracked = True

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: Any) -> None:
        """Parse the parameters, set up the log, and register the resolvers."""
        from thriftune.config import parse_parameters, with_credentials
        from thriftune.project.parameters import credentials_of, sources

        loader = context.config_loader
        raw = dict(loader["parameters"])
        runtime = loader.runtime_params or {}
        where = dict(sources(Path(context.project_path), loader.conf_source, context.env, runtime))
        self._context = context
        raw = with_credentials(raw, credentials_of(loader), where)
        self._settings = parse_parameters(raw, root=Path(context.project_path), where=where)
        for name, resolver in resolvers(self._settings, Path(context.project_path)).items():
            OmegaConf.register_resolver(name, resolver, replace=True)
        self._tracked = self._store_answers()
        if not self._tracked:
            context.config_loader["mlflow"] = self._without_tracking()

    def _store_answers(self, *, say: bool = True) -> bool:
        from thriftune.databases.health import REBUILD, trouble
        from thriftune.databases.location import mlflow_uri
        from thriftune.databases.sqlite import SQLITE
        from thriftune.tracking.parent import connect

        root = Path(self._context.project_path)
        uri = mlflow_uri(self._settings.tracking, root)
        found = trouble(uri)
        if found is None:
            try:
                connect(self._settings, root)
            except Exception as error:
                # Whatever MLflow does wrong, training goes on.
                found = (str(error).partition("\n")[0] or type(error).__name__) + (
                    f"; {REBUILD}" if uri.startswith(SQLITE) else ""
                )
        if found is not None and say:
            log.warning(WITHOUT_MLFLOW, found)
        return found is None

    def _without_tracking(self) -> dict[str, Any]:
        """mlflow.yml for a run whose store does not answer: kedro-mlflow gets an empty one of its own."""
        self._empty_store = tempfile.TemporaryDirectory(prefix="thriftune-")
        return {
            "server": {"mlflow_tracking_uri": f"sqlite:///{self._empty_store.name}/none.db"},
            "tracking": {
                "disable_tracking": {"pipelines": list(NAMES), "disable_autologging": True},
                "experiment": {"name": self._settings.tracking.experiment},
            },
        }

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
        names = run_params.get("pipeline_names") or [DEFAULT]
        if not set(names) & set(WITH_STUDY):
            return
        from thriftune.study.handle import as_single_trial
        from thriftune.study.identity import study_id
        from thriftune.tracking.parent import ParentRun

        settings = self._settings
        if "train" in names:
            settings = as_single_trial(settings)
        name = settings.study.name
        self._parent = ParentRun(settings, Path(self._context.project_path), study_id(name), name)
        if not self._tracked:
            return
        tracking = self._context.mlflow.tracking
        try:
            tracking.run.id = self._parent.open()
            tracking.run.name = Sanitiser(self._settings.observe.redact).clean(name)
        except Exception as error:
            # Whatever MLflow does wrong, training goes on.
            log.warning(WITHOUT_MLFLOW, str(error).partition("\n")[0])
            tracking.disable_tracking.pipelines = list(NAMES)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self) -> None:
        """The parent run is FINISHED."""
        self._close("FINISHED")

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """The parent run is KILLED where a signal ended the run, what it was where the command was refused or
        had not what it needs (others may be at work on the study, or it is over), else FAILED."""
        from thriftune.errors import InterruptedRunError, RefusedError, UnavailableError

        status = "KILLED" if isinstance(error, InterruptedRunError) else "FAILED"
        if isinstance(error, RefusedError | UnavailableError) and self._parent is not None:
            status = self._parent.before or status
        self._close(status)
        if not self._tracked:
            self._empty_store.cleanup()
        # kedro-mlflow 2.0.3 dies here of an UnboundLocalError where no run is open, and hides the error.
        for plugin in self._context._hook_manager.get_plugins():
            if type(plugin).__name__ == "MlflowHook":
                plugin._is_mlflow_enabled = False

    def _close(self, status: str) -> None:
        """End the run before kedro-mlflow would: it calls every end FINISHED or FAILED, and dies of a store
        that has gone meanwhile."""
        if self._parent is None:
            return
        import mlflow

        from thriftune.databases.health import BRIEF_SECONDS, be_brief, within

        parent, self._parent = self._parent, None
        if status == "KILLED":
            be_brief()
        try:
            with within(BRIEF_SECONDS) if status == "KILLED" else nullcontext():
                if mlflow.active_run() is not None:
                    mlflow.end_run(status)
                elif self._store_answers(say=False):  # it was said at the start
                    parent.close(status)
        except Exception as error:
            # MLflow's state must not turn a finished run into a failed command.
            log.warning(
                "the study's run in MLflow still stands as running (%s); the next run or `thriftune tracking "
                "flush` closes it",
                str(error).partition("\n")[0],
            )
