"""`kedro run`, with every parameter and option checked before anything is written."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from thriftune.cli.guard import META, GuardedCommand, RunInfo, fail
from thriftune.config import Parameters
from thriftune.errors import ConfigError, ThriftuneError
from thriftune.files import is_out_of_space
from thriftune.pipeline_registry import DEFAULT, NAMES, SEARCHING, TRAINING, WITH_STUDY
from thriftune.process import prepare


class RunCommand(GuardedCommand):
    """`kedro run`, with every parameter checked before anything is written."""

    own_ends = (click.ClickException, click.exceptions.Exit, SystemExit)

    def invoke(self, ctx: click.Context) -> Any:
        """Check, then run as Kedro does."""
        prepare()
        try:
            check_options(ctx.params)
            run = ctx.meta[META] = load_run(ctx.params)
            check_run(ctx.params, run)
            _set_up_log(run)
        except ThriftuneError as error:
            fail(error, ctx.meta.get(META))
        os.chdir(run.root)
        # What is not yet, or no longer, in a search ends as Ctrl-C does; a search has handlers of its own.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return super().invoke(ctx)

    def before_failing(self, error: BaseException) -> None:
        """Kedro tells no hook of a KeyboardInterrupt."""
        if isinstance(error, KeyboardInterrupt):
            _mark_killed()


def _mark_killed() -> None:
    """The study's run in MLflow, where one is open."""
    if "mlflow" not in sys.modules:
        return
    import mlflow

    from thriftune.databases.health import BRIEF_SECONDS, be_brief, within

    be_brief()
    try:
        if mlflow.active_run() is not None:
            with within(BRIEF_SECONDS):
                mlflow.end_run("KILLED")
    except Exception as error:
        click.echo(f"MLflow's run still stands as running ({str(error).partition(chr(10))[0]})", err=True)


def _set_up_log(run: RunInfo) -> None:
    from thriftune.observe.logs import setup
    from thriftune.observe.sanitiser import Sanitiser

    setup(run.root / run.parameters.observe.log_root, Sanitiser(run.parameters.observe.redact))


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the options of `kedro run` name what is there and can work."""
    runner = options.get("runner") or "SequentialRunner"
    runner_params = options.get("runner_params") or {}
    if options.get("is_async") or runner_params.get("is_async") or "Sequential" not in runner:
        raise ConfigError(
            "nodes run in the main thread, one at a time (signals, one writer)",
            where="--async" if "Sequential" in runner else f"--runner={runner}",
            remedy="leave the option out.",
        )
    names = requested_pipelines(options)
    _check_pipelines(names, "--pipeline" if options.get("pipeline") else "--pipelines")
    _check_nodes(names, options)


def load_run(options: Mapping[str, Any]) -> RunInfo:
    """Return the project's folder and the parameters that the options of `kedro run` give."""
    from thriftune.project.parameters import load_parameters, project_root

    root = project_root()
    env, runtime, conf_source = options.get("env"), options.get("params"), options.get("conf_source")
    return RunInfo(root, load_parameters(root, env, runtime, conf_source))


def check_run(options: Mapping[str, Any], run: RunInfo) -> None:
    """Raise unless the parameters can work, before Kedro or MLflow is touched."""
    from thriftune.container import require_mounts
    from thriftune.project.parameters import leaf_keys
    from thriftune.search.space import check_space

    root, parameters = run.root, run.parameters
    names = set(requested_pipelines(options))
    searches = not names.isdisjoint(SEARCHING)
    check_space(parameters, tuple(leaf_keys(options.get("params") or {})), searches=searches)
    if searches:
        from thriftune.search.samplers import check_grid

        check_grid(parameters)
    if "train" in names:
        from thriftune.study.handle import as_single_trial

        as_single_trial(parameters)
    if not names.isdisjoint(TRAINING):
        from thriftune.runner.preflight import check_configuration

        check_configuration(parameters, root)
    require_mounts(root, parameters.folders().values())
    _check_writable(root, parameters)


def requested_pipelines(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what --pipeline and --pipelines name, each once; Kedro's default where they name nothing."""
    given = (options.get("pipeline"), *(options.get("pipelines") or ()))
    return tuple(dict.fromkeys(filter(None, given))) or (DEFAULT,)


def _check_pipelines(names: Sequence[str], option: str) -> None:
    from thriftune.config import suggest

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
            remedy="run them one after the other; ingest may be named with any of them.",
        )


def _check_nodes(pipeline_names: Sequence[str], options: Mapping[str, Any]) -> None:
    """--nodes, --from-nodes, --tags...: ConfigError where they name what the pipelines have not."""
    names = {
        "node_names": "--nodes",
        "from_nodes": "--from-nodes",
        "to_nodes": "--to-nodes",
        "tags": "--tags",
        "from_inputs": "--from-inputs",
        "to_outputs": "--to-outputs",
        "node_namespaces": "--namespaces",
    }
    given = {name: list(options[name]) for name in names if options.get(name)}
    if not given:
        return
    from kedro.framework.project import pipelines

    pipeline = reduce(add, (pipelines[name] for name in pipeline_names))
    try:
        pipeline.filter(**given)
    except ValueError as error:
        raise ConfigError(
            str(error),
            where=", ".join(names[name] for name in given),
            remedy=f"its nodes are {', '.join(node.name for node in pipeline.nodes)}.",
        ) from error


def _check_writable(root: Path, parameters: Parameters) -> None:
    from thriftune.container import owner_advice

    for key, place in parameters.folders().items():
        # Path.exists raises where a folder above may not be entered.
        existing = next(path for path in (place, *place.parents) if os.path.exists(path))  # noqa: PTH110
        try:
            # Tried, not asked for: root may write anywhere, but for where nobody can.
            tempfile.TemporaryFile(dir=existing).close()
        except OSError as error:
            if is_out_of_space(error):
                continue  # whatever has to be written there says so, with the report of a full disk
            raise ConfigError(
                f"the folder {place} cannot be written: {existing} is "
                + (f"not writable ({error.strerror})" if existing.is_dir() else "not a folder"),
                where=key,
                remedy=f"make it writable, or set {key} to another folder.{owner_advice(existing)}",
            ) from error


run = RunCommand(name="run", params=kedro_run.params, callback=kedro_run.callback, help=kedro_run.help)
