"""`thriftune storage`: what holds which bytes."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from thriftune import forecast, maintenance
from thriftune.cli.guard import GuardedGroup
from thriftune.cli.options import as_json_option, configured
from thriftune.cli.tables import show
from thriftune.config import Parameters, override, parse_bytes
from thriftune.errors import ConfigError


@click.group(cls=GuardedGroup)
def storage() -> None:
    """Show and manage disk usage."""


@storage.command("status")
@as_json_option
@configured
def _status(parameters: Parameters, as_json: bool) -> None:
    """Show the bytes of every study and its budget."""
    show(maintenance.storage_rows(parameters), as_json, "storage")


@storage.command("forecast")
@click.option("--model-size", help="Bytes of the model, such as 10GB; default: the configured encoder.")
@click.option("--trials", type=click.IntRange(min=1), help="Number of trials; default: study.trials.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs per trial; default: training.epochs.")
@as_json_option
@configured
def _forecast(
    parameters: Parameters, model_size: str | None, trials: int | None, epochs: int | None, as_json: bool
) -> None:
    """Predict from the configuration how much a study will hold at most and write in all."""
    given = {"study.trials": trials, "training.epochs": epochs}
    parameters = override(parameters, {key: value for key, value in given.items() if value is not None})
    try:
        weights = None if model_size is None else int(parse_bytes(model_size))
    except ValueError as error:
        raise ConfigError(str(error), where="--model-size", remedy="give it as 10GB or 500MiB.") from error
    found = forecast.forecast_study(parameters, forecast.configured_inputs(parameters, weights))
    show(asdict(found) if as_json else forecast.forecast_table(found), as_json, "forecast")
    if not as_json:
        click.echo(forecast.forecast_summary(found))


@storage.command("verify")
@as_json_option
@configured
def _verify(parameters: Parameters, as_json: bool) -> None:
    """Hash every checkpoint's files again; exit code 1, naming each file, where one is damaged."""
    failed = maintenance.verify_all(parameters.storage.folder)
    if failed or as_json:
        show(failed, as_json, "damaged")
    else:
        click.echo("every checkpoint matches its manifest")
    sys.exit(1 if failed else 0)


@storage.command("clean")
@click.option("--yes", is_flag=True, help="Delete; without it, only say what would be deleted.")
@as_json_option
@configured
def _clean(parameters: Parameters, yes: bool, as_json: bool) -> None:
    """Delete temporary and quarantined checkpoints and folders that belong to no study."""
    rows = maintenance.clean(parameters.storage.folder, parameters.tracking.optuna_url, really=yes)
    if rows or as_json:
        show(rows, as_json, "deleted" if yes else "would be deleted (--yes does it)")
    else:
        click.echo("nothing to clean")
