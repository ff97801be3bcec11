"""Wiring between Kedro, kedro-mlflow and the core.

Parameters are parsed before kedro-mlflow touches its store; catalog.yml and mlflow.yml get their
settings from the parameters through resolvers; the study's MLflow run is found or created by us and
handed to kedro-mlflow, which never opens one of its own for a study.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, MemoryDataset
from omegaconf import OmegaConf

from thriftune.config import Parameters, parse_parameters, with_credentials
from thriftune.errors import first_line
from thriftune.observe.sanitiser import Sanitiser
from thriftune.pipeline_registry import DEFAULT, NAMES, WITH_STUDY
from thriftune.project.parameters import credentials_of, sources
from thriftune.project.resolvers import make_resolvers

if TYPE_CHECKING:
    from thriftune.project.study_run import StudyRun

WITHOUT_MLFLOW = (
    "MLflow's store cannot be used (%s). The run continues without it: metrics stay in the journals, and are "
    "sent once the store is back, by this run, the next one, or `thriftune tracking flush`"
)

log = logging.getLogger(__name__)


class RunParams(TypedDict, total=False):
    """The options of a run that are read here; Kedro gives all of them."""

    pipeline_names: list[str] | None


class ThriftuneHooks:
    """The project's only hooks."""

    def __init__(self) -> None:
        self._context: KedroContext = None
        self._parameters = Parameters()
        self._run: StudyRun | None = None
        self._empty_store: tempfile.TemporaryDirectory[str] | None = None
        """kedro-mlflow's store in a run without MLflow."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Parse the parameters and register the resolvers; do without MLflow where its store is away.

        Args:
            context: The context of this run.
        """
        from thriftune.project.study_run import unavailable_reason  # MLflow, after the variables are set

        root, loader = Path(context.project_path), context.config_loader
        where = dict(sources(root, loader.conf_source, context.env, loader.runtime_params or {}))
        raw = with_credentials(dict(loader["parameters"]), credentials_of(loader), where)
        self._context, self._parameters = context, parse_parameters(raw, root=root, where=where)
        for name, resolver in make_resolvers(self._parameters).items():
            OmegaConf.register_resolver(name, resolver, replace=True)
        reason = unavailable_reason(self._parameters)
        if reason is not None:
            log.warning(WITHOUT_MLFLOW, reason)
            loader["mlflow"] = self._settings_without_mlflow()

    def _settings_without_mlflow(self) -> dict[str, object]:
        """Return an mlflow.yml for a run whose store is away: kedro-mlflow gets an empty store of its own."""
        self._empty_store = tempfile.TemporaryDirectory(prefix="thriftune-")
        return {
            "server": {"mlflow_tracking_uri": f"sqlite:///{self._empty_store.name}/none.db"},
            "tracking": {
                "disable_tracking": {"pipelines": list(NAMES), "disable_autologging": True},
                "experiment": {"name": self._parameters.tracking.experiment},
            },
        }

    @hook_impl
    def after_catalog_created(self, catalog: CatalogProtocol) -> None:
        """Offer the parsed parameters to the nodes.

        Args:
            catalog: The catalog of this run.
        """
        catalog["settings"] = MemoryDataset(self._parameters, copy_mode="assign")

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: RunParams) -> None:
        """Find or create the study's MLflow run and hand it to kedro-mlflow.

        Args:
            run_params: Kedro's options of this run. kedro-mlflow makes tags of them, so secrets in them are
                masked here.
        """
        from thriftune.project.study_run import StudyRun

        clean = Sanitiser(self._parameters.observe.redact).clean_value
        run_params.update(clean(run_params))
        names = run_params.get("pipeline_names") or [DEFAULT]
        if not set(names) & set(WITH_STUDY):
            return
        self._run = StudyRun(self._parameters, names)
        if self._empty_store is not None:
            return
        tracking = self._context.mlflow.tracking
        try:
            tracking.run.id = self._run.open()
            tracking.run.name = clean(self._run.name)
        except Exception as error:  # whatever MLflow does wrong, training continues
            log.warning(WITHOUT_MLFLOW, first_line(error))
            tracking.disable_tracking.pipelines = list(NAMES)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self) -> None:
        """End the study's run as FINISHED, before kedro-mlflow does."""
        if self._run is not None:
            self._run.close("FINISHED")

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """End the study's run with the status that the error means, before kedro-mlflow does.

        Args:
            error: What ended the pipeline.
        """
        if self._run is not None:
            self._run.close(self._run.status_after(error))
        if self._empty_store is not None:
            self._empty_store.cleanup()
        stop_kedro_mlflow()


def stop_kedro_mlflow() -> None:
    """Let kedro-mlflow do nothing more in this run.

    Version 2.0.3 fails with an UnboundLocalError after a pipeline's error where no run is open, which hides
    that error, and it has no public switch for a pipeline that is under way.
    """
    from kedro_mlflow.framework.hooks.mlflow_hook import mlflow_hook

    mlflow_hook._is_mlflow_enabled = False
