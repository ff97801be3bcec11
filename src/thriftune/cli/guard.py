"""How a command fails: a message without a traceback for a user's mistake, and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from thriftune.config import Parameters
from thriftune.errors import ConfigError, OutOfStorageError, ThriftuneError, chain
from thriftune.files import is_out_of_space

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


class GuardedGroup(click.Group):
    """A group whose commands are guarded."""

    command_class = GuardedCommand
    group_class = type
