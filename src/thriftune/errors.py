"""The errors that Thriftune raises on purpose, each with the exit code that a script sees.

Every message says what happened, where, what was expected and what to do next; the commands print it
without a traceback. Any other error that ends a command is a bug, and is printed with its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

AUTOFLUSH_HINT = "(raised as a result of"


def chain(error: BaseException | None, *, implicit: bool = False) -> Iterator[BaseException]:
    """Follow an error to its causes.

    Args:
        error: The error. None: there is nothing to follow.
        implicit: Where an error was raised without `from`, follow what was being handled too. That explains
            an error only by chance.

    Yields:
        The error, what it was raised from, and so on.
    """
    while error is not None:
        yield error
        followed = implicit and not error.__suppress_context__
        error = error.__cause__ or (error.__context__ if followed else None)


class ThriftuneError(Exception):
    """Base of every deliberate error: one clear message and an exit code."""

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        """Make the error.

        Args:
            message: What happened and what was expected.
            where: File, row, parameter or option.
            remedy: What the user can do.
        """
        self.message = message
        self.where = where
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f"\nWhat to do: {self.remedy}" if self.remedy else ""
        return f"{place}{self.message}{remedy}"


class ConfigError(ThriftuneError):
    """A parameter is wrong, unknown, or contradicts another (exit code 2)."""

    exit_code = 2


class DataError(ThriftuneError):
    """The user's tables cannot be used as they are (exit code 2)."""

    exit_code = 2


class StudyError(ThriftuneError):
    """The request does not fit the study on record (exit code 2)."""

    exit_code = 2


class RefusedError(StudyError):
    """The request would harm the study on record, running or finished; nothing was changed (exit code 2)."""


class TakenOverError(StudyError):
    """Another process has taken the trial over, and this one stops working on it (exit code 2)."""


class NewerFormatError(StudyError):
    """A file has a format that only a newer version of Thriftune knows; nothing was changed (exit code 2)."""

    def __init__(self, version: int, known: int, *, where: str) -> None:
        """Make the error.

        Args:
            version: The format of the file.
            known: The newest format that this version knows.
            where: The file.
        """
        super().__init__(
            f"was written by a newer version of Thriftune: it has format {version}, and this version knows "
            f"formats up to {known}",
            where=where,
            remedy="install the version that wrote it, or a later one. Nothing was changed.",
        )


def refuse_newer(value: object, key: str, known: int, where: str) -> None:
    """Raise unless a file's format is one that this version knows.

    What states no format at all passes: it is for its schema to say what is wrong.

    Args:
        value: What `json.loads` returns.
        key: The top-level key with the number of the format.
        known: The newest format that this version knows.
        where: The file's path, for the message.

    Raises:
        NewerFormatError: The format is newer.
    """
    version = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(version, int) and version > known:
        raise NewerFormatError(version, known, where=where)


class OutOfStorageError(ThriftuneError):
    """The budget or the disk has no room for the next write (exit code 3)."""

    exit_code = 3


class UnavailableError(ThriftuneError):
    """The hub, an optional package or the tracking store is needed and not available (exit code 4)."""

    exit_code = 4


class DamageError(ThriftuneError):
    """Stored bytes are not what was written (exit code 1)."""


class InterruptedRunError(ThriftuneError):
    """A signal stopped the run in order; the same command resumes it (exit code 130)."""

    exit_code = 130


def first_line(error: BaseException | None) -> str:
    """Return the line of an error's text that says why; its type's name if there is none.

    What follows is advice for programmers, and SQLAlchemy puts a hint of its own before the reason.

    Args:
        error: The error; None gives "NoneType".
    """
    lines = (
        line
        for line in ("" if error is None else str(error)).strip().splitlines()
        if not line.startswith(AUTOFLUSH_HINT)
    )
    return next(lines, "") or type(error).__name__
