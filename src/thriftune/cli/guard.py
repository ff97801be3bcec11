"""How a command fails: a message without a traceback for a user's mistake, and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Any, NoReturn

import click

from thriftune.config import Parameters
from thriftune.errors import ConfigError, OutOfStorageError, ThriftuneError, chain
from thriftune.files import is_out_of_space
from thriftune.observe.logs import log_end
from thriftune.observe.sanitiser import Sanitiser

INTERRUPTED = 130
STOPPED = "stopped; run the same command again to resume."
NO_ROOM = "no space is left on the disk; what was committed is intact."
INTERNAL = "internal error; please report it with the traceback above."
META = "thriftune"
"""The key of the parameters in a click context's `meta`; `obj` is Kedro's where Kedro starts a command."""


def exit_code(error: BaseException) -> tuple[int, str]:
    """Return the exit code of an error and the message for the user.

    Args:
        error: The error that ends the command. What it was raised from decides as well.

    Returns:
        The message is empty, and the code 1, where nobody raised the error on purpose.
    """
    for link in chain(error):
        if isinstance(link, ThriftuneError):
            return link.exit_code, str(link)
        if isinstance(link, KeyboardInterrupt):
            return INTERRUPTED, STOPPED
    return (OutOfStorageError.exit_code, NO_ROOM) if _is_disk_full(error) else (1, "")


def _is_disk_full(error: BaseException) -> bool:
    """Return whether the disk is full: libraries fail over what it left unfinished, and do not say why."""
    return any(map(is_out_of_space, chain(error, implicit=True)))


def fail(error: BaseException, parameters: Parameters | None = None) -> NoReturn:
    """Print and log an error, without a traceback for a user's mistake, and exit.

    Args:
        error: The error that ends the command.
        parameters: Give the user's own patterns of secrets, and the disks to report on where one is full.
            None: they could not be read.
    """
    code, message = exit_code(error)
    full = code == OutOfStorageError.exit_code and _is_disk_full(error)
    if parameters is not None and full and "Largest files" not in message:
        from thriftune.maintenance.storage import no_room

        message = str(no_room(parameters))
    try:
        clean = Sanitiser(() if parameters is None else parameters.observe.redact).clean
    except ConfigError:  # either the error that is being reported, or one that the next run will report
        clean = Sanitiser().clean
    log_end(message or "internal error", None if message else error)
    if message:
        click.secho(f"error: {clean(message)}", err=True, fg="red")
    else:
        click.echo(clean("".join(traceback.format_exception(error))), err=True)
        click.secho(INTERNAL, err=True, fg="red")
    if code == INTERRUPTED:
        _exit_at_once(code)
    sys.exit(code)


def _exit_at_once(code: int) -> NoReturn:
    """End the process after a signal, when everything has been closed.

    The interpreter's own end would close connections one by one, and wait for a server that hangs.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class GuardedCommand(click.Command):
    """A command whose deliberate errors become one message and an exit code."""

    ends_by_itself: tuple[type[BaseException], ...] = (
        click.ClickException,
        click.exceptions.Exit,
        SystemExit,
        BrokenPipeError,
    )
    """Errors that click handles; a broken pipe: whoever reads what is printed may leave early (`| head`)."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and exit with a message and a code where it raises.

        Args:
            ctx: Its `meta` has the parameters, once they are read.

        Returns:
            What the command returns.
        """
        try:
            return super().invoke(ctx)
        except self.ends_by_itself:
            raise
        except BaseException as error:
            self.before_failing(error)
            fail(error, ctx.meta.get(META))

    def before_failing(self, error: BaseException) -> None:
        """Do what has to be done before an error is printed.

        Args:
            error: The error that ends the command.
        """


class GuardedGroup(click.Group):
    """A group whose commands are guarded."""

    command_class = GuardedCommand
    group_class = type
