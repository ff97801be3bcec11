"""`kedro run` with exit codes, and the commands of `kedro thriftune` (the same as `thriftune`)."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce, wraps
from operator import add
from pathlib import Path
from typing import Any, NoReturn

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import _split_params

from thriftune.config import Parameters
from thriftune.errors import ConfigError, OutOfStorageError, ThriftuneError, chain
from thriftune.files import is_out_of_space
from thriftune.pipeline_registry import DEFAULT, NAMES, SEARCHING, TRAINING, WITH_STUDY
from thriftune.process import prepare

INTERRUPTED = 130
NO_ROOM = "no space is left on the disk; what was committed is intact."
META = "thriftune"
"""The key of RunInfo in a click context's `meta`; `obj` is Kedro's where Kedro starts a command."""


@dataclass(frozen=True)
class RunInfo:
    """What an error's report needs: the disks to look at and the user's own patterns of secrets."""

    root: Path
    parameters: Parameters


def exit_code(error: BaseException) -> tuple[int, str]:
    """The exit code and the message of an error chain; (1, '') where it is a fault of ours."""
    for link in chain(error):
        if isinstance(link, ThriftuneError):
            return link.exit_code, str(link)
        if isinstance(link, KeyboardInterrupt):
            return INTERRUPTED, "stopped; the same command goes on where this one stopped."
    return (OutOfStorageError.exit_code, NO_ROOM) if _is_disk_full(error) else (1, "")


def _is_disk_full(error: BaseException) -> bool:
    """Libraries fail over what a full disk left unfinished, and do not say why."""
    return any(map(is_out_of_space, chain(error, implicit=True)))


def fail(error: BaseException, run: RunInfo | None = None) -> None:
    """Print and log what happened, without a traceback for a user's mistake, and exit.

    Args:
        run: None where the parameters could not be read.
    """
    from thriftune.observe.logs import log_end
    from thriftune.observe.sanitiser import Sanitiser

    code, message = exit_code(error)
    full = code == OutOfStorageError.exit_code and _is_disk_full(error)
    if run is not None and full and "Largest files" not in message:
        from thriftune.maintenance.storage import no_room

        message = str(no_room(run.root, run.parameters))
    try:
        clean = Sanitiser(() if run is None else run.parameters.observe.redact).clean
    except ConfigError:  # the error that is told, or one that the next run will tell
        clean = Sanitiser().clean
    log_end(message or "a fault of ours", None if message else error)
    if message:
        click.secho(f"error: {clean(message)}", err=True, fg="red")
    else:
        click.echo(clean("".join(traceback.format_exception(error))), err=True)
        click.secho("this is a fault of ours; the traceback above says where.", err=True, fg="red")
    if code == INTERRUPTED:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """After a signal, all that was open having been closed: the interpreter's own end would give back
    connections one by one, and waits for a server that hangs."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class GuardedCommand(click.Command):
    """A command whose deliberate errors become one message and an exit code."""

    own_ends: tuple[type[BaseException], ...] = (
        click.ClickException,
        click.exceptions.Exit,
        SystemExit,
        BrokenPipeError,
    )
    """What click ends by itself; a broken pipe: whoever reads what is printed may leave early (`| head`)."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see exit_code."""
        try:
            return super().invoke(ctx)
        except self.own_ends:
            raise
        except BaseException as error:
            self.before_failing(error)
            fail(error, ctx.meta.get(META))
            raise

    def before_failing(self, error: BaseException) -> None:
        """What is to be done before the error is printed."""


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
    require_mounts(root, parameters.roots().values())
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

    for key, folder in parameters.roots().items():
        place = root / folder
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


class GuardedGroup(click.Group):
    """A group whose commands are guarded."""

    command_class = GuardedCommand
    group_class = type


@click.group(cls=GuardedGroup, name="thriftune")
def thriftune() -> None:
    """Studies, storage, tracking and schemas of this project."""
    prepare()


@click.group(name="Thriftune")
def cli() -> None:
    """Commands that Kedro reads from this project."""


cli.add_command(run)
cli.add_command(thriftune)


def _show(rows: list[dict[str, Any]] | dict[str, Any], as_json: bool, title: str) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"{title}: none")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=not isinstance(rows, dict))
    if isinstance(rows, dict):
        columns, lines = ["", ""], [[key, _cell(key, value)] for key, value in rows.items()]
    else:
        columns = [key.removesuffix("_bytes") for key in rows[0]]
        lines = [[_cell(key, value) for key, value in row.items()] for row in rows]
    for column in columns:
        table.add_column(column, overflow="fold")  # nothing is cut: people copy what they see
    for line in lines:
        table.add_row(*line)
    click.echo(f"{title}:")
    Console(markup=False, highlight=False).print(table)


def _cell(key: str, value: Any) -> str:
    from thriftune.units import human_bytes

    if key.endswith("bytes") and isinstance(value, int):
        return human_bytes(value)
    return "" if value is None else str(value)


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options --params and --env, which is given the project's folder, where it works, and
    the parameters."""

    @click.option("--params", default="", callback=_split_params, help="As of `kedro run`: a.b=c,d=e.")
    @click.option("--env", help="The configuration environment, as of `kedro run`.")
    @wraps(command)
    def with_settings(params: Mapping[str, Any], env: str | None, **options: Any) -> None:
        from thriftune.project.parameters import load_parameters, project_root

        root = project_root()
        settings = load_parameters(root, env, params)
        click.get_current_context().meta[META] = RunInfo(root, settings)
        os.chdir(root)  # paths in the parameters are from there
        command(root, settings, **options)

    return with_settings


@thriftune.group(cls=GuardedGroup)
def study() -> None:
    """What is known of the studies."""


@study.command("list")
@_as_json
@configured
def study_list(root: Path, settings: Parameters, as_json: bool) -> None:
    """Every study: trials by state, best value, time, bytes held."""
    from thriftune.maintenance.studies import list_studies

    rows = list_studies(root, settings)
    if as_json or not rows:
        _show(rows, as_json, "studies")
        return
    from rich.console import Console

    from thriftune.reports.terminal import print_list

    print_list(rows, Console())


@study.command("show")
@click.argument("name")
@click.option("--all", "every", is_flag=True, help="Every trial, not the best and the last ten.")
@_as_json
@configured
def study_show(root: Path, settings: Parameters, name: str, every: bool, as_json: bool) -> None:
    """One study: best configuration, what mattered, time and bytes, the best trials and the last."""
    from thriftune.maintenance.studies import show_study

    found = show_study(root, settings, name)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from thriftune.reports.terminal import print_study

    print_study(found, Console(), every=every)


@study.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do it; without, say what would go.")
@click.option("--tracking", is_flag=True, help="Delete its MLflow runs too.")
@configured
def study_delete(root: Path, settings: Parameters, name: str, yes: bool, tracking: bool) -> None:
    """Delete a study: its checkpoints and folder, then its Optuna study."""
    from thriftune.maintenance.studies import delete_study

    click.echo(delete_study(root, settings, name, really=yes, tracking=tracking))


@thriftune.command()
@click.argument("name", type=click.Choice(["evaluation", "trial", "manifest", "parameters"]))
def schema(name: str) -> None:
    """Print a JSON Schema that the project's files follow."""
    from thriftune.maintenance.schemas import json_schema

    click.echo(json.dumps(json_schema(name), indent=2))


@thriftune.group(cls=GuardedGroup)
def storage() -> None:
    """What holds which bytes."""


@storage.command("status")
@_as_json
@configured
def storage_status(root: Path, settings: Parameters, as_json: bool) -> None:
    """Bytes of every study against its budget."""
    from thriftune.maintenance.usage import storage_rows

    _show(storage_rows(root, settings), as_json, "storage")


@storage.command("forecast")
@click.option("--model-size", help="Bytes of the model's weights (10GB); default: the configured encoder.")
@click.option("--trials", type=click.IntRange(min=1), help="Trials; default: study.trials.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of a trial; default: training.epochs.")
@_as_json
@configured
def storage_forecast(
    root: Path,
    settings: Parameters,
    model_size: str | None,
    trials: int | None,
    epochs: int | None,
    as_json: bool,
) -> None:
    """What a study will hold at most and write in all, from the configuration alone."""
    from thriftune.config import override, parse_bytes
    from thriftune.forecast.estimate import configured, forecast_line, forecast_row, forecast_words

    given = {"study.trials": trials, "training.epochs": epochs}
    settings = override(settings, {key: value for key, value in given.items() if value is not None})
    try:
        weights = None if model_size is None else int(parse_bytes(model_size))
    except ValueError as error:
        raise ConfigError(str(error), where="--model-size", remedy="give it as 10GB or 500MiB.") from error
    row = forecast_row(settings, *configured(settings, root, weights))
    _show(row if as_json else forecast_words(row), as_json, "forecast")
    if not as_json:
        click.echo(forecast_line(row))


@storage.command("verify")
@_as_json
@configured
def storage_verify(root: Path, settings: Parameters, as_json: bool) -> None:
    """Hash every checkpoint's files again; exit code 1, naming each file, where one is damaged."""
    from thriftune.maintenance.storage import verify_all

    failed = verify_all(root / settings.storage.root)
    if failed or as_json:
        _show(failed, as_json, "damaged")
    else:
        click.echo("every checkpoint is what its manifest says")
    sys.exit(1 if failed else 0)


@storage.command("clean")
@click.option("--yes", is_flag=True, help="Do it; without, say what would go.")
@_as_json
@configured
def storage_clean(root: Path, settings: Parameters, yes: bool, as_json: bool) -> None:
    """Delete temporary and quarantined checkpoints and folders that belong to no study."""
    from thriftune.maintenance.storage import clean

    rows = clean(root / settings.storage.root, settings.tracking.optuna_url, really=yes)
    if rows or as_json:
        _show(rows, as_json, "deleted" if yes else "would be deleted (--yes does it)")
    else:
        click.echo("nothing to clean")


@thriftune.group(cls=GuardedGroup)
def checkpoint() -> None:
    """Single checkpoints."""


@checkpoint.command("export")
@click.argument("study_name", metavar="STUDY")
@click.argument("target", type=click.Path(path_type=Path, resolve_path=True))
@click.option("--trial", type=click.IntRange(min=0), help="Default: the study's best.")
@click.option("--epoch", type=click.IntRange(min=1), help="Default: the trial's best that is kept.")
@configured
def checkpoint_export(
    root: Path,
    settings: Parameters,
    study_name: str,
    target: Path,
    trial: int | None,
    epoch: int | None,
) -> None:
    """Write a model directory that works without this project: weights, tokenizer, thresholds, labels, and
    a short script that predicts."""
    from thriftune.maintenance.export import export_checkpoint

    click.echo(export_checkpoint(root, settings, study_name, target, trial, epoch))


@checkpoint.command("rollback")
@click.argument("study_name", metavar="STUDY")
@click.argument("trial", type=click.IntRange(min=0))
@click.argument("epoch", type=click.IntRange(min=1))
@click.option("--yes", is_flag=True, help="Do it; without, say what would change.")
@configured
def checkpoint_rollback(
    root: Path, settings: Parameters, study_name: str, trial: int, epoch: int, yes: bool
) -> None:
    """Let an interrupted trial resume from an earlier epoch."""
    from thriftune.maintenance.rollback import roll_back

    click.echo(roll_back(root, settings, study_name, trial, epoch, really=yes))


@thriftune.group(cls=GuardedGroup)
def tracking() -> None:
    """The journals and MLflow."""


@tracking.command("flush")
@configured
def tracking_flush(root: Path, settings: Parameters) -> None:
    """Send to MLflow what journals hold and MLflow has not.

    To the store that tracking.mlflow_uri names (parameter files, --env, --params); where it names none, each
    study's rows go to the store that it was run with.
    """
    from thriftune.maintenance.flush import flush_all

    click.echo(f"{flush_all(root, settings, say=click.echo)} rows sent")


@tracking.command("rebuild")
@click.option("--yes", is_flag=True, help="Do it; without, say what would be done.")
@click.option("--move", is_flag=True, help="Also for studies that another server or machine keeps.")
@configured
def tracking_rebuild(root: Path, settings: Parameters, yes: bool, move: bool) -> None:
    """Make MLflow's and Optuna's databases anew from the journals; the old ones are set aside.

    --move: from now on the configured server, or without one this machine, keeps the studies. End every
    process that works on them before: those of other machines are not seen from here.

    Which MLflow store: as of `tracking flush`. One that tracking.mlflow_uri names is set aside only where it
    is a damaged SQLite file; it may hold runs of other projects.
    """
    from thriftune.maintenance.rebuild import rebuild

    click.echo("\n".join(rebuild(root, settings, really=yes, moving=move)))


@thriftune.command("fetch")
@configured
def fetch_command(root: Path, settings: Parameters) -> None:
    """Download from the hub what the configuration needs: data set and encoders, and nothing else.

    Afterwards HF_HUB_OFFLINE=1 and the same options run it without internet; on another machine, with the
    cache (HF_HOME) and revisions.json below corpus.root copied there.
    """
    from thriftune.maintenance.fetch import fetch
    from thriftune.training.sources import hub_of

    fetch(settings, root, hub_of(settings), click.echo)


@thriftune.command()
@_as_json
@configured
def doctor(root: Path, settings: Parameters, as_json: bool) -> None:
    """Versions, devices, disk, stores and caches: what works here and what does not."""
    from thriftune.maintenance.doctor import doctor_rows

    _show(doctor_rows(root, settings), as_json, "doctor")


def main() -> None:
    """The console script `thriftune`."""
    from thriftune.project.quiet import silence

    silence()
    thriftune()
