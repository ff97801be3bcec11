"""How a guarded command ends: the exit code and what is printed of an error."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from thriftune.cli.guard import GuardedCommand
from thriftune.errors import ConfigError, UnavailableError

pytestmark = pytest.mark.unit
SAID = "the remedy of a mistake"
BUG = "internal error; please report it with the traceback above."


def a_bug_while_a_mistake_is_handled() -> None:
    try:
        raise ConfigError("a mistake", remedy=SAID)
    except ConfigError:
        {}["key"]


def a_mistake_behind_a_library_s_error() -> None:
    try:
        raise UnavailableError("a mistake", remedy=SAID)
    except UnavailableError as error:
        raise ValueError("wrapped") from error


def a_full_disk_while_another_error_is_handled() -> None:
    try:
        raise OSError(errno.ENOSPC, "no space left")
    except OSError:
        {}["key"]


def a_full_disk_that_was_dealt_with() -> None:
    try:
        raise OSError(errno.ENOSPC, "no space left")
    except OSError:
        raise KeyError("key") from None


def run(callback: Callable[[], None]) -> Result:
    return CliRunner().invoke(GuardedCommand("command", callback=callback))


def test_a_bug_is_not_taken_for_the_mistake_that_was_being_handled() -> None:
    """Only what an error was raised from explains it; a bug keeps its traceback and exit code 1."""
    done = run(a_bug_while_a_mistake_is_handled)
    assert (done.exit_code, BUG in done.output, "KeyError" in done.output) == (1, True, True)


def test_a_mistake_that_a_library_has_wrapped_is_told_without_a_traceback() -> None:
    """Its message and its exit code are those of the cause."""
    done = run(a_mistake_behind_a_library_s_error)
    assert (done.exit_code, SAID in done.output, "Traceback" in done.output) == (4, True, False)


def test_a_full_disk_explains_what_follows_from_it() -> None:
    """Libraries fail over what a full disk left unfinished and chain nothing; `from None` ends the search."""
    assert run(a_full_disk_while_another_error_is_handled).exit_code == 3
    assert run(a_full_disk_that_was_dealt_with).exit_code == 1
