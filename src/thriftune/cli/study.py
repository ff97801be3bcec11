"""`thriftune study`: what is known of the studies."""

from __future__ import annotations

import json

import click

from thriftune import maintenance, reports
from thriftune.cli.guard import GuardedGroup
from thriftune.cli.options import as_json_option, configured
from thriftune.cli.tables import show
from thriftune.config import Parameters


@click.group(cls=GuardedGroup)
def study() -> None:
    """List, show and delete studies."""


@study.command("list")
@as_json_option
@configured
def _list(parameters: Parameters, as_json: bool) -> None:
    """List every study: trials by state, best value, time, bytes held."""
    rows = maintenance.list_studies(parameters)
    if as_json or not rows:
        show(rows, as_json, "studies")
        return
    from rich.console import Console

    reports.print_list(rows, Console())


@study.command("show")
@click.argument("name")
@click.option("--all", "every", is_flag=True, help="Show every trial, not only the best and the last ten.")
@as_json_option
@configured
def _show(parameters: Parameters, name: str, every: bool, as_json: bool) -> None:
    """Show one study: best configuration, what mattered, time and bytes, the best trials and the last."""
    found = maintenance.show_study(parameters, name)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    reports.print_study(found, Console(), every=every)


@study.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete; without it, only say what would be deleted.")
@click.option("--tracking", is_flag=True, help="Delete its MLflow runs too.")
@configured
def _delete(parameters: Parameters, name: str, yes: bool, tracking: bool) -> None:
    """Delete a study: its checkpoints and folder, then its Optuna study."""
    click.echo(maintenance.delete_study(parameters, name, really=yes, tracking=tracking))
