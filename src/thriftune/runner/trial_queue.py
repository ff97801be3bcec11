"""Which trial this process runs next, and when there is none: all are over, or a rule ended the search."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from thriftune.runner.failures import check_failures
from thriftune.runner.limits import TrainingTime, describe_stop, is_over, stop_reached
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.storage_errors import UnknownOutcomeError
from thriftune.search.trials import FrozenTrial, RunningTrial, Values
from thriftune.study.file_locks import TRIALS, Ownership
from thriftune.study.layout import journals_of
from thriftune.study.opening import check_arbiter
from thriftune.study.record import StudyRecord, require_record, write_record

if TYPE_CHECKING:
    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.config import StudyConfig
    from thriftune.study.handle import StudyHandle

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""Between two looks at whether another worker's trial is anybody's."""


class TrialQueue:
    """The trials that are left of a study, for one of the processes that work on it."""

    def __init__(
        self,
        config: StudyConfig,
        configured: Values,
        study: StudyHandle,
        store: CheckpointStore,
        ownership: Ownership,
        opened: tuple[StudyRecord, OptunaStudy],
    ) -> None:
        """Read nothing yet.

        Args:
            config: The limits of this run.
            configured: Every parameter of this run by dotted key.
            study: The study.
            store: Its checkpoints.
            ownership: This process's share of the study.
            opened: The study's record and Optuna's study.
        """
        self.record, self.optuna = opened
        self.best_value: float | None = None
        """As of the last choice."""
        self._config, self._configured = config, configured
        self._study, self._store = study, store
        self._ownership = ownership
        self._time = TrainingTime(lambda: journals_of(study.folder))
        self._is_waiting = False

    def is_over(self) -> bool:
        """Return whether no trial is left, of this process or another."""
        return is_over(self.record, self.optuna)

    def check_failures(self, finished: list[FrozenTrial] | None = None) -> None:
        """Raise StudyError where too many trials in a row have failed.

        Args:
            finished: The trials that have ended, in order; None: they are read.
        """
        over = self.optuna.finished() if finished is None else finished
        check_failures(over, self.record.trials, self._config, self._configured)

    def next(self) -> RunningTrial | None:
        """Return a trial that this process owns from now on; None where none is left for it.

        StudyError is raised where too many trials in a row have failed, or the study was moved.
        """
        while True:
            try:
                with self._ownership.section(TRIALS):
                    return self._choose()
            except UnknownOutcomeError as error:
                log.warning("%s; choosing a trial again", error.__cause__)

    def wait(self, check_signals: Callable[[], None]) -> None:
        """Wait a while for other workers; a trial whose worker dies is taken over by the next choice.

        Args:
            check_signals: Called again and again; raises where a signal asked for the end.
        """
        if not self._is_waiting:
            self._is_waiting = True
            log.info(
                "no trial is left to start; other workers run %s: waiting, to take over if one of them dies",
                ", ".join(map(str, self.optuna.running())) or "one that is just starting",
            )
        deadline = time.monotonic() + POLL_SECONDS
        while time.monotonic() < deadline:
            check_signals()
            time.sleep(0.1)

    def elsewhere(self, ended_here: int) -> tuple[int, int]:
        """Return how many trials of other workers have ended since this one started, and how many run.

        Args:
            ended_here: Trials that had ended when this process started, or ended in it since.
        """
        if not self._ownership.shared:
            return 0, 0
        return len(self.optuna.finished()) - ended_here, len(self.optuna.running())

    def _choose(self) -> RunningTrial | None:
        trials = self.optuna.trials()  # once: with a thousand of them each reading takes its time
        self._store.trials.mark_finished({trial.number for trial in self.optuna.finished(trials)})
        best = self.optuna.best(trials)
        self.best_value = None if best is None else best.value
        for number in self._store.trials.running() - set(self.optuna.running(trials)):
            self._store.trials.finish(number)  # a kill came between the trial's end and its tidying
        # An interrupted one is resumed whatever ended the search.
        trial = self.optuna.next_trial(0, self._ownership, trials)
        if trial is None and not self._has_stopped(trials):
            trial = self.optuna.next_trial(self.record.trials, self._ownership, trials)
        if trial is not None and trial.attempt > 1:
            self._store.trials.recover(trial.number)
        return trial

    def _has_stopped(self, trials: list[FrozenTrial]) -> bool:
        """Return whether no further trial is to begin; a rule that ends the search is written down, once."""
        finished = self.optuna.finished(trials)
        if self._ownership.shared:
            # Another worker may have extended the search, and somebody may have moved the study.
            self.record = require_record(self._study.folder)
            check_arbiter(self.record, self._study.folder, self._ownership.arbiter)
        self.check_failures(finished)
        if self.record.ended is not None or len(finished) >= self.record.trials:
            return True
        best = self.optuna.best(trials)
        stop = stop_reached(
            self._config,
            self.record.extended,
            finished=len(finished),
            best_trial=None if best is None else best.number,
            training_seconds=self._time.seconds,
        )
        if stop is None:
            return False
        self.record = self.record.model_copy(update={"ended": stop})
        write_record(self._study.folder, self.record)
        log.info("%s", describe_stop(stop, self.record.trials))
        return True
