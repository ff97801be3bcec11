"""What is installed and in reach: `thriftune doctor`, `fetch` and `schema`."""

from __future__ import annotations

import json

import click

from thriftune import maintenance
from thriftune.cli.guard import GuardedCommand
from thriftune.cli.options import as_json_option, configured
from thriftune.cli.tables import show
from thriftune.config import Parameters


@click.command("schema", cls=GuardedCommand)
@click.argument("name", type=click.Choice(["evaluation", "trial", "manifest", "parameters"]))
def _schema(name: str) -> None:
    """Print a JSON Schema that the project's files follow."""
    from thriftune.maintenance.schemas import json_schema

    click.echo(json.dumps(json_schema(name), indent=2))


@click.command("fetch", cls=GuardedCommand)
@configured
def _fetch(parameters: Parameters) -> None:
    """Download from the hub what the configuration needs: data set and encoders, and nothing else.

    Afterwards HF_HUB_OFFLINE=1 and the same options run it without internet; on another machine, with the
    cache (HF_HOME) and revisions.json below corpus.root copied there.
    """
    from thriftune.maintenance.fetch import fetch
    from thriftune.training.sources import hub_of

    fetch(parameters, hub_of(parameters.corpus), click.echo)


@click.command("doctor", cls=GuardedCommand)
@as_json_option
@configured
def _doctor(parameters: Parameters, as_json: bool) -> None:
    """Check versions, devices, disk, stores and caches: what works here and what does not."""
    show(maintenance.doctor_rows(parameters), as_json, "doctor")
