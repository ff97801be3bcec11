"""The study's run in MLflow while `kedro run` works: found or created, given to kedro-mlflow, ended by us.

kedro-mlflow would call every end FINISHED or FAILED, and fails itself where the store is away.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import mlflow

from thriftune.config import Parameters
from thriftune.databases import health
from thriftune.databases.health import BRIEF_SECONDS, REBUILD, shorten_mlflow_timeouts, time_limit
from thriftune.databases.location import mlflow_uri
from thriftune.databases.sqlite import SQLITE
from thriftune.errors import InterruptedRunError, RefusedError, UnavailableError, first_line
from thriftune.study.handle import as_single_trial
from thriftune.study.identity import study_id
from thriftune.tracking.parent import ParentRun, connect

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
"""MLflow's names of how a run ended."""

log = logging.getLogger(__name__)


def unavailable_reason(parameters: Parameters) -> str | None:
    """Return why MLflow's store cannot be used, in one line, or None where it answers.

    Args:
        parameters: Say where the store is; its experiment is created where it is missing.
    """
    uri = mlflow_uri(parameters.tracking)
    found = health.unavailable_reason(uri)
    if found is not None:
        return found
    try:
        connect(parameters)
    except Exception as error:  # whatever MLflow does wrong, training continues
        found = first_line(error)
        return f"{found}; {REBUILD}" if uri.startswith(SQLITE) else found
    return None


class StudyRun:
    """The MLflow run of the study that one `kedro run` works on."""

    def __init__(self, parameters: Parameters, pipelines: Sequence[str]) -> None:
        """Touch nothing yet.

        Args:
            parameters: The parameters of the run.
            pipelines: Names of the pipelines that it runs; `train` works on a study of its own.
        """
        self._parameters = as_single_trial(parameters) if "train" in pipelines else parameters
        self.name = self._parameters.study.name
        self._parent = ParentRun(self._parameters, study_id(self.name), self.name)

    def open(self) -> str:
        """Find or create the run and return its id."""
        return self._parent.open()

    def close(self, status: str) -> None:
        """End the run; a store that has failed meanwhile is logged, and does not turn success into failure.

        Args:
            status: FINISHED, FAILED or KILLED.
        """
        try:
            with _brief(status):
                if not _end_active_run(status) and unavailable_reason(self._parameters) is None:
                    self._parent.close(status)
        except Exception as error:
            log.warning(
                "the study's run in MLflow is still marked as running (%s); the next run or "
                "`thriftune tracking flush` ends it",
                first_line(error),
            )

    def status_after(self, error: Exception) -> str:
        """Return the status of the run after an error.

        Args:
            error: What ended the pipeline. Where the command was refused, or lacked what it needs, the status
                stays what it was: others may be working on the study, or it is finished.
        """
        if isinstance(error, InterruptedRunError):
            return KILLED
        if isinstance(error, RefusedError | UnavailableError):
            return self._parent.before or FAILED
        return FAILED


def end_active_run(status: str) -> bool:
    """End the run that kedro-mlflow has opened in this process.

    Args:
        status: FINISHED, FAILED or KILLED, after which a server that hangs is given one second.

    Returns:
        Whether there was one.
    """
    with _brief(status):
        return _end_active_run(status)


def _end_active_run(status: str) -> bool:
    if mlflow.active_run() is None:
        return False
    mlflow.end_run(status)
    return True


def _brief(status: str) -> AbstractContextManager[None]:
    """Give MLflow's server one second for the block where the process was asked to stop."""
    if status != KILLED:
        return nullcontext()
    shorten_mlflow_timeouts()
    return time_limit(BRIEF_SECONDS)
