"""The commands that Kedro reads from this project: its own `run`, checked, and `thriftune`."""

from __future__ import annotations

import click

from thriftune.cli.app import thriftune
from thriftune.cli.run import run


@click.group(name="Thriftune")
def cli() -> None:
    """Add this project's commands to Kedro's."""


cli.add_command(run)
cli.add_command(thriftune)
