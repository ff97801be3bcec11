"""Sends the metrics of trials to MLflow while they run, first what earlier processes left."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Self

from thriftune.databases.location import mlflow_uri
from thriftune.study.shown import trial_params
from thriftune.tracking.delivery import pending_deliveries, trial_delivery
from thriftune.tracking.parent import connect
from thriftune.tracking.sender import Sender
from thriftune.tracking.study_progress import StudyProgressLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from thriftune.config import Parameters
    from thriftune.search.trials import RunningTrial
    from thriftune.study.handle import StudyHandle
    from thriftune.study.record import StudyRecord
    from thriftune.tracking.journal import Journal

log = logging.getLogger(__name__)

DRAIN_SECONDS = 60.0
DRAIN_AFTER_SIGNAL_SECONDS = 0.5, 1.5


class Publisher:
    """Sends rows from the journals in a thread of its own, from its making until the end of the block."""

    def __init__(
        self,
        parameters: Parameters,
        study: StudyHandle,
        record: StudyRecord,
        seconds_left: Callable[[], float | None],
    ) -> None:
        """Start to send what earlier processes could not.

        Args:
            parameters: Those of this run; relative paths start at their project's folder.
            study: The study.
            record: The study's record.
            seconds_left: What is left of the time after a signal; None without a signal.
        """
        uri = mlflow_uri(parameters.tracking)
        self._study, self._record, self._seconds_left = study, record, seconds_left
        self._progress_log = StudyProgressLog()
        self._sender = Sender(
            lambda: connect(parameters),
            uri,
            lambda sink: pending_deliveries(study, record, uri, sink, running=False),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left_of_grace, seconds = self._seconds_left(), DRAIN_SECONDS
        if left_of_grace is not None:
            shortest, longest = DRAIN_AFTER_SIGNAL_SECONDS
            seconds = max(shortest, min(longest, left_of_grace))
        left = self._sender.close(seconds)
        if self._sender.is_gone:
            log.warning(
                "all metric rows of the study are still to be sent to MLflow from the journals; the next run "
                "or `thriftune tracking flush` sends them"
            )
        elif left:
            log.warning(
                "%d metric rows are still to be sent to MLflow from the journals; the next run or "
                "`thriftune tracking flush` sends them",
                left,
            )

    def pending_bytes(self) -> int:
        """Return the bytes that MLflow's database will take for rows that it does not have yet."""
        return self._sender.promised_bytes()

    def watch(self, trial: RunningTrial, journal: Journal) -> None:
        """Send what a trial's journal gets from now on.

        Args:
            trial: The trial.
            journal: Its journal.
        """
        config = trial_params(trial.parameters, trial.overrides if trial.refused else None)
        self._sender.watch(
            trial_delivery(self._study, self._record, journal.path, trial.number, config, self._progress_log)
        )

    def finish(self, journal: Journal, status: str) -> None:
        """Close a trial's run in MLflow once all of its rows are there.

        Args:
            journal: The trial's journal.
            status: MLflow's: FINISHED, FAILED or KILLED.
        """
        self._sender.finish(journal.path, status)

    def forget(self, journal: Journal) -> None:
        """Leave a trial's journal to another process.

        Args:
            journal: The trial's journal.
        """
        self._sender.forget(journal.path)
