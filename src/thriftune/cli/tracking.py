"""`thriftune tracking`: the journals and MLflow."""

from __future__ import annotations

from pathlib import Path

import click

from thriftune.cli.guard import GuardedGroup
from thriftune.cli.options import configured
from thriftune.config import Parameters


@click.group(cls=GuardedGroup)
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
