"""The program `thriftune`; `kedro thriftune` is the same."""

from __future__ import annotations

import importlib
from typing import Any

import click

from thriftune.cli.guard import GuardedGroup
from thriftune.process import prepare
from thriftune.project.environment import set_library_options
from thriftune.project.quiet import silence


class LazyGroup(GuardedGroup):
    """A group whose commands are imported when they are called, or listed with their help.

    After Click's documentation, "Lazily Loading Subcommands".
    """

    def __init__(self, *words: Any, commands_at: dict[str, str], **options: Any) -> None:
        """Create the group.

        Args:
            *words: As for click.Group.
            commands_at: The place, `module:attribute`, of each command by its name.
            **options: As for click.Group.
        """
        super().__init__(*words, **options)
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted.

        Args:
            ctx: Not used.
        """
        return sorted(self._commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, which is imported now, or None where there is none of the name.

        Args:
            ctx: Not used.
            cmd_name: Its name, as the user gives it.
        """
        if cmd_name not in self._commands_at:
            return None
        module, _, attribute = self._commands_at[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(
    cls=LazyGroup,
    name="thriftune",
    commands_at={
        "checkpoint": "thriftune.cli.checkpoint:checkpoint",
        "doctor": "thriftune.cli.environment:_doctor",
        "fetch": "thriftune.cli.environment:_fetch",
        "schema": "thriftune.cli.environment:_schema",
        "storage": "thriftune.cli.storage:storage",
        "study": "thriftune.cli.study:study",
        "tracking": "thriftune.cli.tracking:tracking",
    },
)
def thriftune() -> None:
    """Inspect and maintain the studies, storage and tracking of this project."""
    prepare()


def main() -> None:
    """Run the console script `thriftune`."""
    silence()
    set_library_options()
    thriftune()
