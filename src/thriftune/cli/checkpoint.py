"""`thriftune checkpoint`: single checkpoints."""

from __future__ import annotations

from pathlib import Path

import click

from thriftune import maintenance
from thriftune.cli.guard import GuardedGroup
from thriftune.cli.options import configured
from thriftune.config import Parameters


@click.group(cls=GuardedGroup)
def checkpoint() -> None:
    """Export a checkpoint, or roll a trial back to one."""


@checkpoint.command("export")
@click.argument("study_name", metavar="STUDY")
@click.argument("target", type=click.Path(path_type=Path, resolve_path=True))
@click.option("--trial", type=click.IntRange(min=0), help="Trial; default: that of the best checkpoint.")
@click.option(
    "--epoch",
    type=click.IntRange(min=1),
    help="Epoch; default: that of the best checkpoint.",
)
@configured
def _export(
    parameters: Parameters, study_name: str, target: Path, trial: int | None, epoch: int | None
) -> None:
    """Write a model directory that works without this project.

    It has weights, tokenizer, thresholds, labels, and a short script that predicts.
    """
    click.echo(maintenance.export_checkpoint(parameters, study_name, target, trial, epoch))


@checkpoint.command("rollback")
@click.argument("study_name", metavar="STUDY")
@click.argument("trial", type=click.IntRange(min=0))
@click.argument("epoch", type=click.IntRange(min=1))
@click.option("--yes", is_flag=True, help="Roll back; without it, only say what would change.")
@configured
def _rollback(parameters: Parameters, study_name: str, trial: int, epoch: int, yes: bool) -> None:
    """Let an interrupted trial resume from an earlier epoch."""
    click.echo(maintenance.roll_back(parameters, study_name, trial, epoch, really=yes))
