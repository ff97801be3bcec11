"""`thriftune tracking`: the journals and MLflow."""

from __future__ import annotations

import click

from thriftune import maintenance
from thriftune.cli.guard import GuardedGroup
from thriftune.cli.options import configured
from thriftune.config import Parameters


@click.group(cls=GuardedGroup)
def tracking() -> None:
    """Send the journals to MLflow, or rebuild the databases from them."""


@tracking.command("flush")
@configured
def _flush(parameters: Parameters) -> None:
    """Send to MLflow what the journals hold and MLflow does not.

    It is sent to the store that tracking.mlflow_uri names (parameter files, --env, --params); where it names
    none, each study's rows go to the store that it was run with.
    """
    sent = maintenance.flush_all(parameters, say=click.echo)
    click.echo(f"{sent} rows sent")


@tracking.command("rebuild")
@click.option("--yes", is_flag=True, help="Rebuild; without it, only say what would be done.")
@click.option("--move", is_flag=True, help="Also move studies locked through another server or machine.")
@configured
def _rebuild(parameters: Parameters, yes: bool, move: bool) -> None:
    """Recreate MLflow's and Optuna's databases from the journals; the old ones are kept beside them.

    --move: from now on the configured server, or without one this machine, keeps the studies. End every
    process that works on them before: those of other machines are not seen from here.

    Which MLflow store: as for `tracking flush`. One that tracking.mlflow_uri names is recreated only where it
    is a damaged SQLite file; it may hold runs of other projects.
    """
    from thriftune.maintenance.rebuild import rebuild

    click.echo("\n".join(rebuild(parameters, really=yes, moving=move)))
