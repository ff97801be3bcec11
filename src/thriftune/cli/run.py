"""`kedro run`, with every parameter and option checked before anything is written."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines

from thriftune import runner, search, study
from thriftune.cli.guard import META, GuardedCommand, fail
from thriftune.config import Parameters, suggest
from thriftune.container import owner_advice, require_mounts
from thriftune.errors import ConfigError, ThriftuneError, first_line
from thriftune.files import is_out_of_space
from thriftune.observe.logs import set_up_logs
from thriftune.observe.sanitiser import Sanitiser
from thriftune.pipeline_registry import DEFAULT, NAMES, SEARCHING, TRAINING, WITH_STUDY
from thriftune.process import prepare
from thriftune.project.parameters import leaf_keys, load_parameters, project_root

Options = Mapping[str, Any]
"""Values of the options of `kedro run`, by the names of Kedro's function: click's `Context.params`."""

FILTERS = {
    "node_names": "--nodes",
    "from_nodes": "--from-nodes",
    "to_nodes": "--to-nodes",
    "tags": "--tags",
    "from_inputs": "--from-inputs",
    "to_outputs": "--to-outputs",
    "node_namespaces": "--namespaces",
}
"""Options that choose nodes, by their names in Options."""


class RunCommand(GuardedCommand):
    """`kedro run`, with every parameter checked before anything is written."""

    ends_by_itself = (click.ClickException, click.exceptions.Exit, SystemExit)

    def invoke(self, ctx: click.Context) -> Any:
        """Check, then run as Kedro does.

        Args:
            ctx: Its `params` are the options of `kedro run`.

        Returns:
            What Kedro's command returns.
        """
        prepare()
        try:
            check_options(ctx.params)
            parameters = ctx.meta[META] = parameters_of(ctx.params)
            check_parameters(ctx.params, parameters)
            set_up_logs(parameters.observe.log_folder, Sanitiser(parameters.observe.redact))
        except ThriftuneError as error:
            fail(error, ctx.meta.get(META))
        # Before and after a search SIGTERM ends the run as Ctrl-C does; a search has handlers of its own.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return super().invoke(ctx)

    def before_failing(self, error: BaseException) -> None:
        """Mark the study's run in MLflow as killed after Ctrl-C, which Kedro tells no hook.

        Args:
            error: The error that ends the command.
        """
        if isinstance(error, KeyboardInterrupt) and "mlflow" in sys.modules:
            from thriftune.project.study_run import end_active_run

            try:
                end_active_run("KILLED")
            except Exception as reason:
                click.echo(f"the run in MLflow is still marked as running ({first_line(reason)})", err=True)


def check_options(options: Options) -> None:
    """Raise unless the options of `kedro run` name what there is and can work.

    Args:
        options: The options.

    Raises:
        ConfigError: One of them cannot be used.
    """
    kedro_runner = options.get("runner") or "SequentialRunner"
    runner_params = options.get("runner_params") or {}
    if options.get("is_async") or runner_params.get("is_async") or "Sequential" not in kedro_runner:
        raise ConfigError(
            "nodes run in the main thread, one at a time (signals, one writer)",
            where="--async" if "Sequential" in kedro_runner else f"--runner={kedro_runner}",
            remedy="leave the option out.",
        )
    names = requested_pipelines(options)
    _check_pipelines(names, "--pipeline" if options.get("pipeline") else "--pipelines")
    _check_nodes(names, options)


def parameters_of(options: Options) -> Parameters:
    """Return the parameters that the options of `kedro run` give, of the project that it is called in.

    Args:
        options: The options.
    """
    return load_parameters(
        project_root(), options.get("env"), options.get("params"), options.get("conf_source")
    )


def check_parameters(options: Options, parameters: Parameters) -> None:
    """Raise a ThriftuneError unless the parameters can work, before Kedro or MLflow is touched.

    Args:
        options: The options of `kedro run`.
        parameters: The parameters that they give.
    """
    root, names = parameters.project_folder, set(requested_pipelines(options))
    searches = not names.isdisjoint(SEARCHING)
    search.check_space(parameters, tuple(leaf_keys(options.get("params") or {})), searches=searches)
    if searches:
        search.check_grid(parameters)
    if "train" in names:
        study.as_single_trial(parameters)
    if not names.isdisjoint(TRAINING):
        runner.check_configuration(parameters)
    require_mounts(root, parameters.folders().values())
    _check_writable(parameters)


def requested_pipelines(options: Options) -> tuple[str, ...]:
    """Return what --pipeline and --pipelines name, each once; Kedro's default where they name nothing.

    Args:
        options: The options of `kedro run`.
    """
    given = (options.get("pipeline"), *(options.get("pipelines") or ()))
    return tuple(dict.fromkeys(filter(None, given))) or (DEFAULT,)


def _check_pipelines(names: Sequence[str], option: str) -> None:
    for name in names:
        if name not in NAMES:
            raise ConfigError(
                f"there is no pipeline {name!r}{suggest(name, NAMES)}",
                where=option,
                remedy=f"choose one of {', '.join(NAMES)}.",
            )
    # The MLflow run of a study is opened and closed around the whole run, and evaluate is part of hpo.
    with_study = [name for name in names if name in WITH_STUDY]
    if len(with_study) > 1:
        raise ConfigError(
            f"{' and '.join(with_study)} cannot share a run: one run works on one study",
            where=option,
            remedy="run them one after the other; ingest may be combined with any of them.",
        )


def _check_nodes(pipeline_names: Sequence[str], options: Options) -> None:
    """Raise ConfigError where --nodes, --from-nodes, --tags... name what the pipelines do not have."""
    given = {name: list(options[name]) for name in FILTERS if options.get(name)}
    if not given:
        return
    pipeline = reduce(add, (pipelines[name] for name in pipeline_names))
    try:
        pipeline.filter(**given)
    except ValueError as error:
        raise ConfigError(
            str(error),
            where=", ".join(FILTERS[name] for name in given),
            remedy=f"its nodes are {', '.join(node.name for node in pipeline.nodes)}.",
        ) from error


def _check_writable(parameters: Parameters) -> None:
    for key, folder in parameters.folders().items():
        # Path.exists raises where a folder above may not be entered.
        existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110
        try:
            # Tried, not asked for: root may write anywhere, except where nobody can.
            tempfile.TemporaryFile(dir=existing).close()
        except OSError as error:
            if is_out_of_space(error):
                continue  # whoever has to write there will fail, with the report of a full disk
            raise ConfigError(
                f"the folder {folder} cannot be written: {existing} is "
                + (f"not writable ({error.strerror})" if existing.is_dir() else "not a folder"),
                where=key,
                remedy=f"make it writable, or set {key} to another folder.{owner_advice(existing)}",
            ) from error


run = RunCommand(name="run", params=kedro_run.params, callback=kedro_run.callback, help=kedro_run.help)
